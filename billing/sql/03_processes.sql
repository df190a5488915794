-- Processes: their birth, lease and end. Times are the database's clock_timestamp(), so that every
-- process counts by the same clock.

CREATE OR REPLACE FUNCTION billing_register(
    p_name text, p_lease_s double precision, OUT epoch bigint, OUT database_time timestamptz
) LANGUAGE plpgsql AS $$
BEGIN
    database_time := clock_timestamp();
    INSERT INTO billing_gatewayprocess AS p (name, state, lease_until, started_at, renewed_at)
    VALUES (p_name, 'LIVE', database_time + make_interval(secs => p_lease_s),
            database_time, database_time)
    RETURNING p.epoch INTO epoch;
END $$;

-- A lease that has ended is renewed all the same while nobody has declared the process dead: after
-- an outage of the database everybody goes on. `is_live` is false once it has ended for good.
CREATE OR REPLACE FUNCTION billing_renew(
    p_epoch bigint, p_lease_s double precision, OUT is_live boolean, OUT database_time timestamptz
) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE billing_gatewayprocess p
    SET lease_until = clock_timestamp() + make_interval(secs => p_lease_s),
        renewed_at = clock_timestamp()
    WHERE p.epoch = p_epoch AND p.state = 'LIVE';
    is_live := FOUND;
    database_time := clock_timestamp();
END $$;

-- Declares a process dead if its lease is still the one that the sweeper has watched. FOR UPDATE
-- waits for the money transactions that the process has under way; none can begin afterwards.
CREATE OR REPLACE FUNCTION billing_declare_dead(p_epoch bigint, p_lease_until timestamptz)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_state text;
    v_lease_until timestamptz;
BEGIN
    SELECT p.state, p.lease_until INTO v_state, v_lease_until
    FROM billing_gatewayprocess p WHERE p.epoch = p_epoch FOR UPDATE;
    IF v_state IS DISTINCT FROM 'LIVE' OR v_lease_until <> p_lease_until THEN
        RETURN false;
    END IF;
    UPDATE billing_gatewayprocess p SET state = 'DEAD', ended_at = clock_timestamp()
    WHERE p.epoch = p_epoch;
    RETURN true;
END $$;

-- Ends a process on its own wish. Returns the wallets that it holds money of: the caller closes
-- those grants one by one (billing_close_grants), each in its own transaction.
CREATE OR REPLACE FUNCTION billing_stop(p_epoch bigint)
RETURNS bigint[] LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM billing_gatewayprocess p WHERE p.epoch = p_epoch FOR UPDATE;
    UPDATE billing_gatewayprocess p SET state = 'STOPPED', ended_at = clock_timestamp()
    WHERE p.epoch = p_epoch AND p.state = 'LIVE';
    RETURN ARRAY(
        SELECT DISTINCT g.wallet_id FROM billing_grant g
        WHERE g.process_id = p_epoch AND g.closed_at IS NULL ORDER BY 1
    );
END $$;

-- Locks a wallet and closes the grants that ended processes still have on it.
CREATE OR REPLACE FUNCTION billing_close_grants(p_wallet bigint)
RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM billing_lock(NULL, ARRAY[p_wallet]);
    RETURN billing_close_ended(p_wallet);
END $$;

-- Writes down, once, what dead processes held when all their grants are closed.
CREATE OR REPLACE FUNCTION billing_record_sweeps(
    OUT processes bigint, OUT grants bigint, OUT amount bigint
) LANGUAGE plpgsql AS $$
BEGIN
    WITH swept AS (
        UPDATE billing_gatewayprocess p
        SET swept_at = clock_timestamp(),
            swept_grants = (SELECT count(g.swept) FROM billing_grant g
                            WHERE g.process_id = p.epoch),
            swept_amount = (SELECT coalesce(sum(g.swept), 0) FROM billing_grant g
                            WHERE g.process_id = p.epoch)
        WHERE p.state = 'DEAD' AND p.swept_at IS NULL AND NOT EXISTS (
            SELECT FROM billing_grant g WHERE g.process_id = p.epoch AND g.closed_at IS NULL)
        RETURNING p.swept_grants, p.swept_amount
    )
    SELECT count(*), coalesce(sum(s.swept_grants), 0), coalesce(sum(s.swept_amount), 0)
    INTO processes, grants, amount FROM swept s;
END $$;
