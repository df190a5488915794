-- The one money lock. Every function that moves money takes it first, in this order and no other:
-- the process that acts (shared, so that it cannot be declared dead meanwhile), then the wallets by
-- id. NO KEY UPDATE excludes every other money transaction, but not rows that merely refer to the
-- wallet (FOR UPDATE would make those wait, and could deadlock with them).

-- Returns whether the process is live; false too for no process (NULL).
CREATE OR REPLACE FUNCTION billing_lock(p_epoch bigint, p_wallets bigint[])
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_state text;
    v_wanted bigint;
    v_locked bigint;
BEGIN
    SELECT p.state INTO v_state FROM billing_gatewayprocess p
    WHERE p.epoch = p_epoch FOR KEY SHARE;
    PERFORM FROM billing_wallet w
    WHERE w.id = ANY (p_wallets) ORDER BY w.id FOR NO KEY UPDATE;
    GET DIAGNOSTICS v_locked = ROW_COUNT;
    SELECT count(DISTINCT id) INTO v_wanted FROM unnest(p_wallets) AS id;
    IF v_locked <> v_wanted THEN
        RAISE EXCEPTION 'Some of the wallets % do not exist.', p_wallets
            USING ERRCODE = 'no_data_found';
    END IF;
    RETURN coalesce(v_state = 'LIVE', false);
END $$;

-- Under the wallet's lock: closes the grants of processes that have ended, so that their money is
-- available again. Returns how much that was. What a dead process held is kept in `swept`.
CREATE OR REPLACE FUNCTION billing_close_ended(p_wallet bigint)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_closed bigint;
BEGIN
    WITH ended AS (
        SELECT g.id, g.amount, p.state
        FROM billing_grant g JOIN billing_gatewayprocess p ON p.epoch = g.process_id
        WHERE g.wallet_id = p_wallet AND g.closed_at IS NULL AND p.state <> 'LIVE'
    ), closed AS (
        UPDATE billing_grant g
        SET amount = 0, closed_at = clock_timestamp(),
            swept = CASE WHEN ended.state = 'DEAD' THEN ended.amount END
        FROM ended WHERE g.id = ended.id
        RETURNING ended.amount AS was
    )
    SELECT coalesce(sum(closed.was), 0) INTO v_closed FROM closed;
    IF v_closed > 0 THEN
        UPDATE billing_wallet w SET granted = w.granted - v_closed WHERE w.id = p_wallet;
    END IF;
    RETURN v_closed;
END $$;
