from gateway.breaker import FAILURES_TO_OPEN, MAX_PAUSE_S, OPEN_S, PROBE_S, Breaker

ROUTE = 7


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed(ROUTE, at)
    return breaker


class TestBreaker:
    def test_lets_an_unknown_route_be_called(self):
        assert Breaker().admit(ROUTE, 0.0)
        assert Breaker().health(ROUTE, 0.0).is_open_s == 0

    def test_opens_after_failures_in_a_row_only(self):
        breaker = Breaker()
        for _ in range(FAILURES_TO_OPEN - 1):
            breaker.failed(ROUTE, 0.0)
        assert breaker.admit(ROUTE, 0.0)

        breaker.succeeded(ROUTE)
        breaker.failed(ROUTE, 0.0)

        assert breaker.admit(ROUTE, 0.0)

    def test_refuses_while_open_and_says_for_how_long(self):
        breaker = opened()

        assert not breaker.admit(ROUTE, OPEN_S - 1)
        assert breaker.health(ROUTE, OPEN_S - 1).is_open_s == 1

    def test_lets_one_probe_through_when_half_open(self):
        breaker = opened()

        assert breaker.admit(ROUTE, OPEN_S)
        assert not breaker.admit(ROUTE, OPEN_S + 1)

    def test_closes_when_the_probe_succeeds(self):
        breaker = opened()
        breaker.admit(ROUTE, OPEN_S)

        breaker.succeeded(ROUTE)

        assert breaker.admit(ROUTE, OPEN_S + 1)
        assert breaker.admit(ROUTE, OPEN_S + 1)

    def test_opens_again_when_the_probe_fails(self):
        breaker = opened()
        breaker.admit(ROUTE, OPEN_S)

        breaker.failed(ROUTE, OPEN_S + 1)

        assert not breaker.admit(ROUTE, OPEN_S + OPEN_S)
        assert breaker.admit(ROUTE, OPEN_S + 1 + OPEN_S)

    def test_probes_again_when_a_probe_never_reports(self):
        breaker = opened()
        breaker.admit(ROUTE, OPEN_S)

        assert breaker.admit(ROUTE, OPEN_S + PROBE_S)

    def test_probes_again_when_the_prober_left(self):
        breaker = opened()
        breaker.admit(ROUTE, OPEN_S)

        breaker.gave_no_answer(ROUTE)

        assert breaker.admit(ROUTE, OPEN_S + 1)

    def test_honours_retry_after(self):
        breaker = Breaker()

        breaker.rate_limited(ROUTE, 0.0, 5.0)

        assert not breaker.admit(ROUTE, 4.0)
        assert breaker.health(ROUTE, 4.0).is_rate_limited
        assert breaker.admit(ROUTE, 5.0)

    def test_honours_no_retry_after_for_ever(self):
        breaker = Breaker()

        breaker.rate_limited(ROUTE, 0.0, 86_400.0)

        assert breaker.admit(ROUTE, MAX_PAUSE_S)

    def test_does_not_open_on_rate_limits_without_a_time(self):
        breaker = Breaker()
        for _ in range(2 * FAILURES_TO_OPEN):
            breaker.rate_limited(ROUTE, 0.0, None)

        assert breaker.admit(ROUTE, 0.0)

    def test_keeps_routes_apart(self):
        assert opened().admit(ROUTE + 1, 0.0)
