-- Transfers: the only functions that write the ledger, each with the wallet it moves.

-- Charges a wallet: first from this process's grant, then from what is available, promotional money
-- before cash. What is not there is written off: the customer owes nothing, the house sees it.
-- Call it once per row (LATERAL), never as (billing_capture(...)).*, which calls it per column.
CREATE OR REPLACE FUNCTION billing_capture(
    p_epoch bigint, p_wallet bigint, p_charge bigint, p_reference text,
    OUT paid bigint, OUT from_grant bigint
) LANGUAGE plpgsql AS $$
DECLARE
    v_wallet billing_wallet%ROWTYPE;
    v_grant_id bigint;
    v_promo bigint;
BEGIN
    IF p_charge < 0 THEN
        RAISE EXCEPTION 'A charge is 0 or more, not %.', p_charge
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    paid := 0;
    from_grant := 0;
    IF p_charge = 0 THEN
        RETURN;
    END IF;
    IF billing_lock(p_epoch, ARRAY[p_wallet]) THEN
        SELECT g.id, least(g.amount, p_charge) INTO v_grant_id, from_grant FROM billing_grant g
        WHERE g.process_id = p_epoch AND g.wallet_id = p_wallet
            AND g.key_id IS NULL AND g.period_start IS NULL AND g.closed_at IS NULL;
        from_grant := coalesce(from_grant, 0);
        UPDATE billing_grant g
        SET amount = g.amount - from_grant,
            closed_at = CASE WHEN g.amount = from_grant THEN clock_timestamp() END
        WHERE g.id = v_grant_id;
    END IF;
    IF from_grant < p_charge THEN
        PERFORM billing_close_ended(p_wallet);
    END IF;
    SELECT * INTO STRICT v_wallet FROM billing_wallet w WHERE w.id = p_wallet;
    paid := from_grant + least(p_charge - from_grant,
                               v_wallet.cash + v_wallet.promo - v_wallet.granted);
    v_promo := least(paid, v_wallet.promo);
    UPDATE billing_wallet w
    SET promo = w.promo - v_promo, cash = w.cash - (paid - v_promo),
        granted = w.granted - from_grant
    WHERE w.id = p_wallet AND paid > 0;
    PERFORM billing_write_charge(v_wallet.id, v_wallet.mode, p_reference,
                                 paid - v_promo, v_promo, p_charge - paid);
END $$;

-- Under the lock: the transfers of a charge; none for zero.
CREATE OR REPLACE FUNCTION billing_write_charge(
    p_wallet bigint, p_mode text, p_reference text, p_cash bigint, p_promo bigint, p_missing bigint
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_revenue bigint := billing_house_account('REVENUE', '', p_mode);
BEGIN
    IF p_promo > 0 THEN
        INSERT INTO billing_transfer (reference, kind, debit_id, credit_id, amount)
        VALUES (p_reference || ':promo', 'CHARGE', billing_wallet_account(p_wallet, 'PROMO'),
                v_revenue, p_promo);
    END IF;
    IF p_cash > 0 THEN
        INSERT INTO billing_transfer (reference, kind, debit_id, credit_id, amount)
        VALUES (p_reference || ':cash', 'CHARGE', billing_wallet_account(p_wallet, 'CASH'),
                v_revenue, p_cash);
    END IF;
    IF p_missing > 0 THEN
        INSERT INTO billing_transfer (reference, kind, debit_id, credit_id, amount, reason)
        VALUES (p_reference || ':write-off', 'WRITE_OFF',
                billing_house_account('WRITE_OFF', '', p_mode), v_revenue, p_missing,
                'wallet ' || p_wallet || ' could not pay');
    END IF;
END $$;

-- What became of a reference: NULL when it is new, REPEATED when it was used for just this,
-- CONFLICT when for something else.
CREATE OR REPLACE FUNCTION billing_used_before(
    p_reference text, p_kind text, p_debit bigint, p_credit bigint, p_amount bigint
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_found billing_transfer%ROWTYPE;
BEGIN
    SELECT * INTO v_found FROM billing_transfer t WHERE t.reference = p_reference;
    RETURN CASE
        WHEN v_found.id IS NULL THEN NULL
        WHEN (v_found.kind, v_found.debit_id, v_found.credit_id, v_found.amount)
            = (p_kind, p_debit, p_credit, p_amount) THEN 'REPEATED'
        ELSE 'CONFLICT'
    END;
END $$;

-- Moves money between a house account and a wallet: into it (p_amount > 0), or out of what is
-- available in it (p_amount < 0). Returns MOVED, or why nothing moved: REPEATED or CONFLICT (the
-- reference is there already), SHORT (not so much is available in that account).
CREATE OR REPLACE FUNCTION billing_move(
    p_wallet bigint, p_account text, p_amount bigint, p_reference text, p_kind text,
    p_house text, p_provider text, p_actor text, p_reason text
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_wallet billing_wallet%ROWTYPE;
    v_debit bigint;
    v_credit bigint;
    v_used text;
BEGIN
    PERFORM billing_lock(NULL, ARRAY[p_wallet]);
    PERFORM billing_close_ended(p_wallet);
    SELECT * INTO STRICT v_wallet FROM billing_wallet w WHERE w.id = p_wallet;
    v_debit := billing_house_account(p_house, p_provider, v_wallet.mode);
    v_credit := billing_wallet_account(p_wallet, p_account);
    IF p_amount < 0 THEN
        SELECT v_credit, v_debit INTO v_debit, v_credit;
    END IF;
    v_used := billing_used_before(p_reference, p_kind, v_debit, v_credit, abs(p_amount));
    IF v_used IS NOT NULL THEN
        RETURN v_used;
    END IF;
    IF -p_amount > least(v_wallet.cash + v_wallet.promo - v_wallet.granted,
                         CASE p_account WHEN 'CASH' THEN v_wallet.cash ELSE v_wallet.promo END) THEN
        RETURN 'SHORT';
    END IF;
    INSERT INTO billing_transfer
        (reference, kind, debit_id, credit_id, amount, actor, reason, created_at)
    VALUES (p_reference, p_kind, v_debit, v_credit, abs(p_amount), p_actor, p_reason,
            clock_timestamp())
    ON CONFLICT (reference) DO NOTHING;
    IF NOT FOUND THEN  -- another wallet's transaction used it just now
        RETURN billing_used_before(p_reference, p_kind, v_debit, v_credit, abs(p_amount));
    END IF;
    UPDATE billing_wallet w
    SET cash = w.cash + CASE p_account WHEN 'CASH' THEN p_amount ELSE 0 END,
        promo = w.promo + CASE p_account WHEN 'PROMO' THEN p_amount ELSE 0 END
    WHERE w.id = p_wallet;
    RETURN 'MOVED';
END $$;
