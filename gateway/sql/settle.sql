-- Settles a batch of calls: usage rows, attempts and charges in one statement, so in one commit.
-- Only rows that were not there before are charged: a batch that is repeated, alone or inside a
-- larger one, charges nothing twice. Locks: the process, then the wallets by id (DESIGN 4.2).
-- Answers {"wallets": [[wallet, charge, paid, from_grant] …], "known": [[id, fingerprint, paid] …],
-- "short": [[id, paid] …]}: what was charged, what was there already, which rows were not paid whole.
CREATE OR REPLACE FUNCTION gateway_settle(
    p_epoch bigint, p_settlement uuid, p_wallets bigint[], p_count integer, p_rows json, p_attempts json
) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    v_base gateway_usagerecord;
    v_wallet record;
    v_capture record;
    v_inserted bigint := 0;
    v_wallets json[] := '{}';
    v_short json[] := '{}';
    v_known json;
BEGIN
    v_base.settled_at := statement_timestamp();
    v_base.settlement_id := p_settlement;
    v_base.epoch := CASE WHEN billing_lock(p_epoch, p_wallets) THEN p_epoch ELSE 0 END;

    FOR v_wallet IN
        WITH put AS (
            INSERT INTO gateway_usagerecord
            SELECT * FROM json_populate_recordset(v_base, p_rows) ORDER BY id
            ON CONFLICT DO NOTHING
            RETURNING id, wallet_id, charge_nano_usd
        )
        SELECT wallet_id, sum(charge_nano_usd)::bigint AS charge, count(*) AS calls,
               array_agg(id) AS ids
        FROM put GROUP BY wallet_id ORDER BY wallet_id
    LOOP
        v_inserted := v_inserted + v_wallet.calls;
        CONTINUE WHEN v_wallet.charge = 0;
        SELECT * INTO v_capture FROM billing_capture(
            v_base.epoch, v_wallet.wallet_id, v_wallet.charge,
            'settlement:' || p_settlement || ':' || v_wallet.wallet_id
        );
        v_wallets := v_wallets || json_build_array(
            v_wallet.wallet_id, v_wallet.charge, v_capture.paid, v_capture.from_grant
        );
        IF v_capture.paid < v_wallet.charge THEN
            v_short := v_short || gateway_pay_in_order(v_wallet.ids, v_capture.paid);
        END IF;
    END LOOP;

    IF p_attempts IS NOT NULL THEN
        INSERT INTO gateway_attempt
        SELECT * FROM json_populate_recordset(NULL::gateway_attempt, p_attempts)
        ORDER BY call_id, n
        ON CONFLICT DO NOTHING;
    END IF;

    IF v_inserted < p_count THEN
        SELECT json_agg(json_build_array(u.id, u.fingerprint, u.paid_nano_usd)) INTO v_known
        FROM gateway_usagerecord u
        WHERE u.id = ANY (ARRAY(SELECT (r->>'id')::uuid FROM json_array_elements(p_rows) r))
            AND u.settlement_id <> p_settlement;
    END IF;
    RETURN json_build_object('wallets', v_wallets, 'known', v_known, 'short', v_short);
END $$;

-- Spreads what a wallet paid over its new rows, in order of id, until it is used up.
CREATE OR REPLACE FUNCTION gateway_pay_in_order(p_ids uuid[], p_paid bigint)
RETURNS json[] LANGUAGE sql AS $$
    WITH rows AS (
        SELECT id, charge_nano_usd AS charge, sum(charge_nano_usd) OVER (ORDER BY id) AS running
        FROM gateway_usagerecord WHERE id = ANY (p_ids)
    ), changed AS (
        UPDATE gateway_usagerecord u
        SET paid_nano_usd = greatest(0, least(r.charge, p_paid - (r.running - r.charge)))
        FROM rows r
        WHERE u.id = r.id AND u.id = ANY (p_ids) AND r.running > p_paid
        RETURNING u.id, u.paid_nano_usd
    )
    SELECT coalesce(array_agg(json_build_array(id, paid_nano_usd)), '{}') FROM changed
$$;
