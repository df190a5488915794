-- Accounts and wallets: found, or made at their first use.

-- The id of a house account. Two transactions that need a new one at the same time get one row.
CREATE OR REPLACE FUNCTION billing_house_account(p_kind text, p_provider text, p_mode text)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_id bigint;
BEGIN
    SELECT a.id INTO v_id FROM billing_account a
    WHERE a.kind = p_kind AND a.provider = p_provider AND a.mode = p_mode AND a.wallet_id IS NULL;
    IF v_id IS NULL THEN
        INSERT INTO billing_account (kind, provider, mode) VALUES (p_kind, p_provider, p_mode)
        ON CONFLICT DO NOTHING;
        SELECT a.id INTO STRICT v_id FROM billing_account a
        WHERE a.kind = p_kind AND a.provider = p_provider AND a.mode = p_mode
            AND a.wallet_id IS NULL;
    END IF;
    RETURN v_id;
END $$;

-- The id of a wallet's account (CASH or PROMO).
CREATE OR REPLACE FUNCTION billing_wallet_account(p_wallet bigint, p_kind text)
RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_id bigint;
BEGIN
    SELECT a.id INTO STRICT v_id FROM billing_account a
    WHERE a.wallet_id = p_wallet AND a.kind = p_kind;
    RETURN v_id;
END $$;

-- The id of the workspace's wallet in a mode, made with its accounts when there is none. The house
-- accounts that settling needs are made here too, so that a settle never inserts a shared row.
CREATE OR REPLACE FUNCTION billing_open_wallet(p_workspace bigint, p_mode text)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_id bigint;
BEGIN
    PERFORM billing_house_account('REVENUE', '', p_mode);
    PERFORM billing_house_account('WRITE_OFF', '', p_mode);
    INSERT INTO billing_wallet (workspace_id, mode) VALUES (p_workspace, p_mode)
    ON CONFLICT DO NOTHING;
    SELECT w.id INTO STRICT v_id FROM billing_wallet w
    WHERE w.workspace_id = p_workspace AND w.mode = p_mode;
    INSERT INTO billing_account (kind, mode, wallet_id)
    VALUES ('CASH', p_mode, v_id), ('PROMO', p_mode, v_id)
    ON CONFLICT DO NOTHING;
    RETURN v_id;
END $$;
