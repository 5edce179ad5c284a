import pytest

from septet.pipelines.runners.cost import Measured, Prices, estimate, table


def test_costs_are_linear_in_pairs_and_sum_up() -> None:
    measured = [
        Measured("filter", pairs=1000, cpu_seconds=3.6, shuffled_bytes=0),
        Measured("dedup", pairs=1000, cpu_seconds=7.2, shuffled_bytes=50_000),
    ]
    prices = Prices(
        vcpu_hour=0.06,
        memory_gb_hour=0.005,
        shuffle_gb=0.01,
        memory_gb_per_vcpu=4,
        utilisation=0.5,
    )
    filter_, dedup, total = estimate(measured, prices, 10**9)
    # 3.6 ms a pair, half of the billed time: 3.6e6 s = 1,000 h, 2,000 h billed at 0.06 + 4 × 0.005.
    assert filter_.vcpu_hours == pytest.approx(2000)
    assert filter_.cost == pytest.approx(160)
    # Twice that, and 50 bytes a pair: 50 GB at 0.01.
    assert dedup.shuffled_gb == pytest.approx(50)
    assert dedup.cost == pytest.approx(320.5)
    assert total.cost == pytest.approx(480.5)
    assert estimate(measured, prices, 10**10)[2].cost == pytest.approx(4805)


def test_table_has_a_row_a_stage_and_the_sum() -> None:
    rows = table(
        [Measured("filter", 1000, 3.6, 0), Measured("dedup", 500, 1.8, 25_000)], Prices(0.05)
    )
    assert [row[0] for row in rows] == ["stage", "filter", "dedup", "all"]
    assert rows[0][3:] == (
        "vCPU hours, 1M",
        "cost, 1M",
        "vCPU hours, 100M",
        "cost, 100M",
        "vCPU hours, 10B",
        "cost, 10B",
    )
    assert rows[3][1:5] == ("7,200.0", "50.0", "2.50", "0.12")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Measured("filter", 0, 1.0, 0), "pairs > 0"),
        (lambda: Measured("filter", 1, -1.0, 0), "CPU seconds"),
        (lambda: Prices(vcpu_hour=-1), "vcpu_hour"),
        (lambda: Prices(vcpu_hour=1, utilisation=0), "utilisation"),
    ],
)
def test_bad_figures(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
