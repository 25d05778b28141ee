//! The group operator as the engine runs it, on cases made here.

use otsu_brain::MeanTable;
use sdk::testing::TestGroup;
use sdk::{Cause, Cell, Column, Inputs, Table};
use serde_json::json;

/// Cases whose brains have a volume of 1001 ml, 1002 ml …; every tenth failed.
fn group(cases: usize) -> TestGroup {
    (1..=cases).fold(TestGroup::new(), |group, number| {
        let label = format!("sub-{number:02}");
        if number % 10 == 0 {
            return group.failed(&label, "no brain found");
        }
        let columns = vec![Column::new("volume_ml", "ml", "volume"), Column::new("note", "", "a remark")];
        let rows = vec![vec![Cell::from(1000.0 + number as f64), "fine".into()]];
        group.case(&label, Inputs::new().with("table", Table { columns, rows }))
    })
}

#[test]
fn numbers_are_averaged_and_failed_cases_named() {
    let made = group(20).run::<MeanTable>(&json!({})).unwrap();
    let means = made.table("table").unwrap();
    assert_eq!(means.rows.len(), 1, "`note` holds no number");
    // 1 to 19 without 10: their sum is 180.
    assert_eq!(
        (means.cell(0, "cases"), means.cell(0, "mean")),
        (Some(&18_usize.into()), Some(&1010.0.into()))
    );
    let left_out = made.table("left_out").unwrap();
    let named: Vec<_> = left_out.rows.iter().map(|row| row[0].clone()).collect();
    assert_eq!(named, [Cell::from("sub-10"), Cell::from("sub-20")]);
    assert_eq!(left_out.cell(0, "reason"), Some(&"no brain found".into()));
}

#[test]
fn stopped_half_way_it_goes_on_where_it_was() {
    let folder = std::env::temp_dir().join(format!("mean_table_{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let stopped = group(20).resume_dir(&folder).stop_after(7);
    assert_eq!(stopped.run::<MeanTable>(&json!({})).unwrap_err().cause, Cause::Cancelled);
    assert_eq!(stopped.reads(), 7);
    // A kill may cut the last line off.
    let file = folder.join("cases.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, &text[..text.len() - 5]).unwrap();
    let again = group(20).resume_dir(&folder);
    let made = again.run::<MeanTable>(&json!({})).unwrap();
    assert_eq!(again.reads(), 12, "18 cases have values, and 6 were remembered");
    let undisturbed = group(20).run::<MeanTable>(&json!({})).unwrap();
    assert_eq!(made.table("table").unwrap(), undisturbed.table("table").unwrap());
    std::fs::remove_dir_all(folder).unwrap();
}
