use super::*;
use serde_json::{Value as Json, json};

const DIGEST: &str = "ab";

fn review() -> Json {
    json!({
        "format": "neuroloom-review", "version": 1, "case": "sub-01", "reviewed": DIGEST, "reader": "AB",
        "signed": "2026-05-31T12:15:00.250+02:00",
        "decisions": [{ "candidate": 1, "model": "accepted", "reader": "rejected", "comment": "a vessel",
                        "by": "AB", "at": "2026-05-31T10:14:59Z" }],
    })
}

/// What makes a good review a bad one.
type Change<'a> = &'a dyn Fn(&mut Json);

fn parsed(json: &Json) -> Result<Review, String> {
    format::parse(Path::new("review.json"), json.to_string().as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn times_come_to_one_form_that_can_be_compared() {
    assert_eq!(parsed(&review()).unwrap().signed, "2026-05-31T10:15:00Z");
}

#[test]
fn what_the_page_does_not_write_is_refused() {
    let with = |change: Change<'_>| {
        let mut json = review();
        change(&mut json);
        parsed(&json).unwrap_err()
    };
    let cases: [(&str, Change<'_>); 10] = [
        ("its `format` is not", &|r| r["format"] = json!("other")),
        ("a review of version 2, and this program knows 1", &|r| r["version"] = json!(2)),
        ("no whole number from 1", &|r| r["version"] = json!("1")),
        ("case label `../evil`", &|r| r["case"] = json!("../evil")),
        ("missing field `reader`", &|r| drop(r.as_object_mut().unwrap().remove("reader"))),
        ("no name or initials", &|r| r["reader"] = json!("a\u{0}b")),
        ("no time such as", &|r| r["signed"] = json!("yesterday")),
        ("not `accepted` or `rejected`", &|r| r["decisions"][0]["reader"] = json!("</script>")),
        ("4001 characters", &|r| r["decisions"][0]["comment"] = json!("x".repeat(4001))),
        ("twice on candidate 1", &|r| {
            let again = r["decisions"][0].clone();
            r["decisions"].as_array_mut().unwrap().push(again);
        }),
    ];
    for (words, change) in cases {
        let said = with(change);
        assert!(said.contains(words) && said.contains("\nhint: "), "{words}: {said}");
    }
    let text = review().to_string();
    let torn = format::parse(Path::new("review.json"), &text.as_bytes()[..text.len() / 2]).unwrap_err();
    assert!(torn.to_string().contains("was it saved whole?"), "{torn}");
}

#[test]
fn a_review_belongs_to_the_result_whose_form_has_its_digest() {
    let candidate = |candidate, model: &str| Candidate { candidate, model: model.to_owned() };
    let digest = Digest::of_bytes(b"form");
    let form =
        |model: &str| (Form { case: "sub-01".to_owned(), candidates: vec![candidate(1, model)] }, digest);
    let mut review = parsed(&review()).unwrap();
    let path = Path::new("review.json");
    assert!(matches!(check(path, &review, &form("accepted")), Err(ReviewError::Stale { .. })));
    review.reviewed = digest.to_string();
    check(path, &review, &form("accepted")).unwrap();
    assert!(matches!(check(path, &review, &form("rejected")), Err(ReviewError::Wrong { .. })));
    review.decisions[0].candidate = 9;
    let unknown = check(path, &review, &form("accepted")).unwrap_err();
    assert!(matches!(unknown, ReviewError::UnknownCandidate { number: 9, count: 1, .. }));
}

#[test]
fn every_review_of_a_result_is_kept_once_and_those_of_another_are_left_out() {
    let digest = Digest::of_bytes(b"form");
    let made = |reader: &str, signed: &str, reviewed: &Digest| Review {
        reader: reader.to_owned(),
        signed: signed.to_owned(),
        reviewed: reviewed.to_string(),
        ..parsed(&review()).unwrap()
    };
    let (first, second) = (made("AB", "2026-01-01", &digest), made("CD", "2026-01-02", &digest));
    let old = made("AB", "2025-01-01", &Digest::of_bytes(b"other"));
    let (all, left_out) = gather(vec![old, second.clone()], vec![first.clone(), second.clone()], &digest);
    assert_eq!((all, left_out), (vec![first, second], 1));
}
