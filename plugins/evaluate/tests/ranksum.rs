//! Rank sums against recorded values of `SciPy`.

use neuroloom_evaluate::ranksum::rank_sum;
use serde::Deserialize;

#[derive(Deserialize)]
struct Recorded {
    x: Vec<f64>,
    y: Vec<f64>,
    p: f64,
}

/// p lies within 0..=1, and both sides round a few times: 1e-15.
#[test]
fn rank_sums_have_the_p_of_scipy() {
    let recorded: Vec<Recorded> = serde_json::from_str(include_str!("golden/ranksum.json")).unwrap();
    assert_eq!(recorded.len(), 32);
    for Recorded { x, y, p } in recorded {
        let found = rank_sum(&x, &y).p.unwrap();
        assert!((found - p).abs() < 1e-15, "{found} instead of {p} for {x:?} and {y:?}");
    }
}
