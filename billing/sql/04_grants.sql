-- Grants: a process takes a share of a wallet and gives back what it does not need. Each order of a
-- process on a wallet carries the next number: repeated, it moves nothing and says what it did.

CREATE OR REPLACE FUNCTION billing_take(
    p_epoch bigint, p_wallet bigint, p_want bigint, p_need bigint, p_seq bigint,
    OUT status text, OUT amount bigint, OUT available bigint, OUT granted_elsewhere bigint,
    OUT live_processes bigint, OUT recall_number bigint
) LANGUAGE plpgsql AS $$
DECLARE
    v_is_live boolean;
    v_wallet billing_wallet%ROWTYPE;
    v_grant billing_grant%ROWTYPE;
BEGIN
    IF p_need < 1 OR p_want < p_need OR p_seq < 1 THEN
        RAISE EXCEPTION 'Take 1 <= need <= want, with a number >= 1, not need %, want %, number %.',
            p_need, p_want, p_seq USING ERRCODE = 'invalid_parameter_value';
    END IF;
    v_is_live := billing_lock(p_epoch, ARRAY[p_wallet]);
    PERFORM billing_close_ended(p_wallet);
    SELECT * INTO STRICT v_wallet FROM billing_wallet w WHERE w.id = p_wallet;
    SELECT * INTO v_grant FROM billing_grant g
    WHERE g.process_id = p_epoch AND g.wallet_id = p_wallet
        AND g.key_id IS NULL AND g.period_start IS NULL;
    available := v_wallet.cash + v_wallet.promo - v_wallet.granted;
    amount := 0;
    IF NOT v_is_live THEN
        status := 'DEAD';
    ELSIF v_grant.seq = p_seq AND v_grant.last_delta > 0 THEN
        status := 'TAKEN';
        amount := v_grant.last_delta;
    ELSIF v_grant.seq >= p_seq THEN
        RAISE EXCEPTION 'Order % of epoch % on wallet % comes after order %.',
            p_seq, p_epoch, p_wallet, v_grant.seq USING ERRCODE = 'invalid_parameter_value';
    ELSIF v_wallet.frozen_at IS NOT NULL THEN
        status := 'FROZEN';
    ELSIF available < p_need THEN
        status := 'SHORT';
    ELSE
        status := 'TAKEN';
        amount := CASE WHEN available >= p_want THEN p_want ELSE p_need END;
        PERFORM billing_grant_more(p_epoch, p_wallet, amount, p_seq);
        available := available - amount;
        v_wallet.granted := v_wallet.granted + amount;
        v_grant.amount := coalesce(v_grant.amount, 0) + amount;
    END IF;
    granted_elsewhere := v_wallet.granted - coalesce(v_grant.amount, 0);
    recall_number := v_wallet.recall_number;
    SELECT count(*) INTO live_processes FROM billing_gatewayprocess p
    WHERE p.state = 'LIVE' AND p.lease_until > clock_timestamp();
END $$;

-- Under the locks: moves available money into the process's grant, opened if need be.
CREATE OR REPLACE FUNCTION billing_grant_more(
    p_epoch bigint, p_wallet bigint, p_amount bigint, p_seq bigint
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE billing_wallet w SET granted = w.granted + p_amount WHERE w.id = p_wallet;
    INSERT INTO billing_grant AS g (process_id, wallet_id, amount, seq, last_delta)
    VALUES (p_epoch, p_wallet, p_amount, p_seq, p_amount)
    ON CONFLICT (process_id, wallet_id, key_id, period_start) DO UPDATE
    SET amount = g.amount + p_amount, seq = p_seq, last_delta = p_amount, closed_at = NULL;
END $$;

-- Gives back at most what is in the grant and returns how much that was; NULL when the process has
-- ended. `p_recall_seen` answers a recall (0: none). An empty grant is closed.
CREATE OR REPLACE FUNCTION billing_give_back(
    p_epoch bigint, p_wallet bigint, p_amount bigint, p_seq bigint, p_recall_seen bigint
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_grant billing_grant%ROWTYPE;
    v_back bigint;
BEGIN
    IF p_amount < 0 OR p_seq < 1 THEN
        RAISE EXCEPTION 'Give back 0 or more, with a number >= 1, not amount %, number %.',
            p_amount, p_seq USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT billing_lock(p_epoch, ARRAY[p_wallet]) THEN
        RETURN NULL;
    END IF;
    SELECT * INTO v_grant FROM billing_grant g
    WHERE g.process_id = p_epoch AND g.wallet_id = p_wallet
        AND g.key_id IS NULL AND g.period_start IS NULL;
    IF v_grant.id IS NULL THEN
        RETURN 0;
    ELSIF v_grant.seq = p_seq AND v_grant.last_delta <= 0 THEN
        RETURN -v_grant.last_delta;
    ELSIF v_grant.seq >= p_seq THEN
        RAISE EXCEPTION 'Order % of epoch % on wallet % comes after order %.',
            p_seq, p_epoch, p_wallet, v_grant.seq USING ERRCODE = 'invalid_parameter_value';
    END IF;
    v_back := least(p_amount, v_grant.amount);
    UPDATE billing_wallet w SET granted = w.granted - v_back WHERE w.id = p_wallet AND v_back > 0;
    UPDATE billing_grant g
    SET amount = g.amount - v_back, seq = p_seq, last_delta = -v_back,
        recall_seen = greatest(g.recall_seen, p_recall_seen),
        closed_at = CASE WHEN g.amount = v_back
                    THEN coalesce(g.closed_at, clock_timestamp()) END
    WHERE g.id = v_grant.id;
    RETURN v_back;
END $$;

-- Calls back what other live processes hold of the wallet. The number is the id of the change that
-- they poll. While a recall of the last second is not answered, asking again returns its number;
-- so it does when nobody else holds anything.
CREATE OR REPLACE FUNCTION billing_recall(p_wallet bigint, p_epoch bigint)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_number bigint;
    v_recalled_at timestamptz;
    v_holders bigint;
    v_waiting bigint;
BEGIN
    PERFORM billing_lock(NULL, ARRAY[p_wallet]);
    SELECT w.recall_number, w.recalled_at INTO v_number, v_recalled_at
    FROM billing_wallet w WHERE w.id = p_wallet;
    SELECT count(*), count(*) FILTER (WHERE g.recall_seen < v_number) INTO v_holders, v_waiting
    FROM billing_grant g JOIN billing_gatewayprocess p ON p.epoch = g.process_id
    WHERE g.wallet_id = p_wallet AND g.closed_at IS NULL
        AND p.state = 'LIVE' AND p.epoch IS DISTINCT FROM p_epoch;
    IF v_holders = 0 OR (v_waiting > 0 AND v_recalled_at > clock_timestamp() - interval '1 s') THEN
        RETURN v_number;
    END IF;
    INSERT INTO accounts_change (kind, subject_id, created_at)
    VALUES ('RECALL', p_wallet, clock_timestamp()) RETURNING id INTO v_number;
    UPDATE billing_wallet w SET recall_number = v_number, recalled_at = clock_timestamp()
    WHERE w.id = p_wallet;
    RETURN v_number;
END $$;

-- Whether every other live process has answered that recall or holds nothing. Takes no lock.
CREATE OR REPLACE FUNCTION billing_recall_answered(p_wallet bigint, p_epoch bigint, p_number bigint)
RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN NOT EXISTS (
        SELECT FROM billing_grant g JOIN billing_gatewayprocess p ON p.epoch = g.process_id
        WHERE g.wallet_id = p_wallet AND g.closed_at IS NULL AND g.recall_seen < p_number
            AND p.state = 'LIVE' AND p.epoch IS DISTINCT FROM p_epoch);
END $$;
