//! Failed cases by cause, so that a hundred with one cause are one thing to look at.

use super::gather::Row;
use sdk::serde::Serialize;

/// What stands in a cause for the label of the case, where several cases share it.
const ANY_CASE: &str = "CASE";

/// Cases that failed for one cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Failure {
    /// Why; `CASE` stands for the label where it is not the same for all.
    pub reason: String,
    /// What helps, if that is known.
    pub hint: Option<String>,
    /// The cases, in the order of their labels.
    pub cases: Vec<FailedCase>,
}

/// A failed case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct FailedCase {
    /// Its label.
    pub case: String,
    /// Its page, if it left one.
    pub page: Option<String>,
}

/// Reason and hint without labels.
type Cause = (String, Option<String>);

/// The failed cases by cause, the most common first. Two causes are one if they differ in the cases' labels alone.
pub fn failures(rows: &[Row]) -> Vec<Failure> {
    let mut causes: Vec<(Cause, Vec<&Row>)> = Vec::new();
    for row in rows {
        let Some(reason) = &row.failure else { continue };
        let common = |text: &String| text.replace(&row.case, ANY_CASE);
        let cause = (common(reason), row.hint.as_ref().map(common));
        match causes.iter_mut().find(|(known, _)| *known == cause) {
            Some((_, cases)) => cases.push(row),
            None => causes.push((cause, vec![row])),
        }
    }
    causes.sort_by_key(|(_, cases)| std::cmp::Reverse(cases.len()));
    causes.into_iter().map(|(cause, cases)| failure(cause, &cases)).collect()
}

fn failure(cause: Cause, rows: &[&Row]) -> Failure {
    let cases = rows.iter().map(|row| FailedCase { case: row.case.clone(), page: row.page.clone() });
    let (reason, hint) = match rows {
        [row] => (row.failure.clone().unwrap_or(cause.0), row.hint.clone()),
        _ => cause,
    };
    Failure { reason, hint, cases: cases.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(case: &str, reason: &str) -> Row {
        Row { case: case.to_owned(), failure: Some(reason.to_owned()), ..Row::default() }
    }

    #[test]
    fn causes_that_differ_in_labels_alone_are_one_and_the_most_common_comes_first() {
        let rows = [
            row("sub-01", "no brain in sub-01_T1w.nii"),
            row("sub-02", "cannot read sub-02_T1w.nii"),
            Row { case: "sub-03".to_owned(), ..Row::default() },
            row("sub-04", "cannot read sub-04_T1w.nii"),
        ];
        let found = failures(&rows);
        let told: Vec<(&str, usize)> = found.iter().map(|f| (f.reason.as_str(), f.cases.len())).collect();
        assert_eq!(told, [("cannot read CASE_T1w.nii", 2), ("no brain in sub-01_T1w.nii", 1)]);
    }

    #[test]
    fn the_same_reason_with_another_hint_is_another_cause() {
        let with = |case: &str, hint: &str| Row { hint: Some(hint.to_owned()), ..row(case, "too dark") };
        let found = failures(&[with("sub-01", "look"), with("sub-02", "wait"), with("sub-03", "look")]);
        assert_eq!(found.iter().map(|f| f.cases.len()).collect::<Vec<_>>(), [2, 1]);
    }
}
