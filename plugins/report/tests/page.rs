//! The page of whole synthetic cases, through the border as the engine would run it.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic as the test may")]

use neuroloom_report::CaseReport;
use neuroloom_report::summary::TARGETS;
use sdk::testing::{ball, ball_mask, run};
use sdk::{Affine, Cell, Column, Document, Grid, Image, Inputs, Labels, Outputs, Probability, Table, Value};
use serde_json::json;

/// A grid with thick slices, stored against the world's x and y as scanners do.
fn grid(shape: [usize; 3]) -> Grid {
    let spacing = [200.0 / shape[0] as f64, 200.0 / shape[1] as f64, 160.0 / shape[2] as f64];
    Grid::new(shape, Affine::scale_shift([-spacing[0], -spacing[1], spacing[2]], [100.0, 100.0, -80.0]))
}

/// Centres of so many lesions in a spiral, well within the brain.
fn centres(count: usize) -> Vec<[f64; 3]> {
    let centre = |n: usize| {
        let turn = n as f64 * 2.4;
        let radius = 10.0 + 45.0 * n as f64 / count as f64;
        [radius * turn.cos(), radius * turn.sin(), -40.0 + 80.0 * n as f64 / count as f64]
    };
    (0..count).map(centre).collect()
}

/// A brain of uneven texture, so that its pictures compress no better than real ones.
fn brain(grid: Grid) -> Image {
    let smooth = ball(grid, [0.0; 3], 75.0, 100.0);
    let grain = |n: usize| ((n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as f32 / 255.0;
    let voxels: Vec<f32> =
        smooth.voxels().iter().enumerate().map(|(n, v)| v * (0.7 + 0.3 * grain(n))).collect();
    Image::new(grid, voxels).unwrap()
}

/// All voxels within 4 mm of each centre, numbered from 1.
fn lesions(grid: Grid, centres: &[[f64; 3]]) -> Labels {
    let mut voxels = vec![0; grid.len()];
    for (n, centre) in centres.iter().enumerate() {
        let world_to_voxel = grid.world_to_voxel().unwrap();
        let middle = world_to_voxel.point(*centre);
        let reach = grid.spacing_mm().map(|spacing| (4.0 / spacing).ceil());
        let range =
            |axis: usize| (middle[axis] - reach[axis]) as usize..=(middle[axis] + reach[axis]) as usize;
        for k in range(2) {
            for j in range(1) {
                for i in range(0) {
                    let p = grid.world([i, j, k]);
                    if (0..3).map(|a| (p[a] - centre[a]).powi(2)).sum::<f64>() <= 16.0 {
                        voxels[grid.offset([i, j, k])] = n as u32 + 1;
                    }
                }
            }
        }
    }
    Labels::new(grid, voxels).unwrap()
}

fn table(centres: &[[f64; 3]]) -> Table {
    let names = [
        ("lesion", ""),
        ("centroid_x", "mm"),
        ("centroid_y", "mm"),
        ("centroid_z", "mm"),
        ("volume_mm3", "mm^3"),
        ("longest_axial_diameter_mm", "mm"),
        ("measurable", ""),
    ];
    let mut table = Table::new(names.map(|(name, unit)| Column::new(name, unit, "")).to_vec());
    for (n, [x, y, z]) in centres.iter().enumerate() {
        let cells: [Cell; 7] = [
            (n + 1).into(),
            (*x).into(),
            (*y).into(),
            (*z).into(),
            268.0.into(),
            (10.0 + n as f64).into(),
            true.into(),
        ];
        table.rows.push(cells.to_vec());
    }
    table
}

fn document(content: &serde_json::Value) -> Document {
    Document::new("application/json", content.to_string())
}

/// A whole case with so many lesions.
fn case(shape: [usize; 3], count: usize, label: &str) -> Inputs {
    let grid = grid(shape);
    let (centres, image) = (centres(count), brain(grid));
    let labels = lesions(grid, &centres);
    let scores: Vec<f32> = labels.voxels().iter().map(|&l| if l == 0 { 0.02 } else { 0.9 }).collect();
    let card =
        json!({"name": "demo", "digest": "ab12", "card": {"trained": "false", "trained_on": "nothing"}});
    Inputs::new()
        .with("reference", image.clone())
        .with_member("images", "flair", image)
        .with("mask", ball_mask(grid, [0.0; 3], 75.0))
        .with("probability", Value::from(Probability::new(grid, scores).unwrap()).fact("model", card))
        .with("lesions", labels)
        .with("table", table(&centres))
        .with("outcome", document(&json!({"case": label, "ok": true, "stages": []})))
        .with(
            "plan",
            document(&json!({"workflow": {"name": "mets", "version": "1.2"},
            "inputs": [{"name": "t1_post", "present": false, "kind": "image"}]})),
        )
}

fn text(outputs: &Outputs, port: &str) -> String {
    String::from_utf8(outputs.document(port).unwrap().bytes.to_vec()).unwrap()
}

const SMALL: [usize; 3] = [50, 50, 20];

#[test]
fn the_page_tells_counts_volumes_warnings_and_what_the_model_is() {
    let outputs = run::<CaseReport>(json!({}), &case(SMALL, 7, "sub-01")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text(&outputs, "json")).unwrap();
    assert_eq!(report["summary"]["accepted"], 7);
    assert_eq!(report["summary"]["targets"], TARGETS);
    let page = text(&outputs, "html");
    for wanted in [
        "<h1>sub-01</h1>",
        "mets 1.2",
        "RESEARCH USE ONLY",
        "UNTRAINED MODEL: these results mean nothing",
        "<dt>Lesions accepted</dt><dd>7</dd>",
        "<dd>1.876 ml</dd>", // 7 * 268 mm3
        "<dd>70.0 mm</dd>",  // 16 + 15 + 14 + 13 + 12
        "Missing from this case: t1_post (image)",
        "href=\"#lesion-3\"",
        "id=\"lesion-3\"",
        "patient’s right is on the left",
    ] {
        assert!(page.contains(wanted), "the page lacks {wanted}");
    }
}

#[test]
fn a_hostile_label_is_text_and_nothing_else() {
    let hostile = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>";
    let mut inputs = case(SMALL, 2, hostile);
    inputs.insert("quality", hostile, Value::from(table(&[])));
    inputs.insert("images", hostile, Value::from(ball(grid(SMALL), [0.0; 3], 60.0, 9.0)));
    let mut candidates =
        Table::new(["id", "class", "rule"].map(|name| Column::new(name, "", hostile)).to_vec());
    candidates.rows.push(vec![9.into(), hostile.into(), hostile.into()]);
    inputs.insert("candidates", "", candidates.into());
    let page = text(&run::<CaseReport>(json!({}), &inputs).unwrap(), "html");
    assert!(!page.contains("<script>alert") && !page.contains("<img src=x"), "the label became markup");
    assert!(page.contains("&lt;script&gt;alert"), "the label is shown");
    let scripts = page.matches("<script").count();
    let data = page.matches("<script type=\"text/plain\" id=\"volume-").count();
    assert_eq!(scripts, data + 3, "the page's own script, the viewer's volumes and what can be decided on");
    assert!(!page.contains("http://") && !page.contains("https://"), "nothing is fetched");
}

#[test]
fn the_same_case_gives_the_same_bytes() {
    let inputs = case(SMALL, 4, "sub-01");
    let (one, two) =
        (run::<CaseReport>(json!({}), &inputs).unwrap(), run::<CaseReport>(json!({}), &inputs).unwrap());
    assert!(text(&one, "html") == text(&two, "html"), "two runs differ");
    assert!(text(&one, "json") == text(&two, "json"), "two runs differ");
}

/// Four sequences of different noise, so many accepted lesions, and as many rejects.
fn full_case(count: usize) -> Inputs {
    let shape = [256, 256, 160];
    let mut inputs = case(shape, count, "sub-78");
    for (n, name) in ["flair", "t1_pre", "t1_post"].into_iter().enumerate() {
        let mut image = brain(grid(shape)).voxels().to_vec();
        image.rotate_left(1000 * n + 77);
        inputs.insert("images", name, Image::new(grid(shape), image).unwrap().into());
    }
    let centres = centres(count).into_iter().map(|[x, y, z]| [x, y, z + 9.0]).collect::<Vec<_>>();
    let rejects = lesions(grid(shape), &centres);
    let voxels: Vec<u32> =
        rejects.voxels().iter().map(|&l| if l == 0 { 0 } else { l + count as u32 }).collect();
    inputs.insert("rejected", "", Labels::new(grid(shape), voxels).unwrap().into());
    let names = ["id", "class", "rule", "value", "limit", "volume_mm3"];
    let mut candidates = Table::new(names.map(|name| Column::new(name, "", "")).to_vec());
    for id in 1..=2 * count {
        let class = if id <= count { "accepted" } else { "rejected" };
        candidates.rows.push(vec![
            id.into(),
            class.into(),
            "max_elongation".into(),
            6.5.into(),
            4.0.into(),
            268.0.into(),
        ]);
    }
    inputs.with("candidates", candidates)
}

#[test]
fn seventy_eight_lesions_and_as_many_rejects_on_a_full_grid_stay_below_ten_megabytes() {
    let page = text(&run::<CaseReport>(json!({}), &full_case(78)).unwrap(), "html");
    println!("page of 78 lesions: {:.2} MB", page.len() as f64 / 1e6);
    if let Some(folder) = std::env::var_os("NEUROLOOM_PAGES") {
        std::fs::write(std::path::Path::new(&folder).join("sub-78_report.html"), &page).unwrap();
    }
    assert!(page.len() < 10_000_000, "{} bytes", page.len());
    assert!(page.contains("20 of 78"), "the largest 20 have pictures, and the page says so");
    assert_eq!(page.matches("data-lesion=").count(), 156, "every candidate has its row");
}

#[test]
fn a_failed_case_is_told_from_its_outcome_alone() {
    let outcome = json!({"case": "sub-09", "ok": false, "stages": [
        {"stage": "brain", "operator": "bet", "state": "ran"},
        {"stage": "segment", "operator": "segment", "state": "failed",
         "reason": "no memory for 28 channels", "hint": "use `device = \"cpu\"`", "location": "net.rs:7:1"},
        {"stage": "filter", "operator": "filter_lesions", "state": "skipped", "reason": "`segment` failed"}]});
    let inputs = Inputs::new().with("outcome", document(&outcome));
    let page = text(&run::<CaseReport>(json!({}), &inputs).unwrap(), "html");
    for wanted in [
        "<h1>sub-09</h1>",
        "STAGE FAILED: segment",
        "no memory for 28 channels – hint: use",
        "NO LESION RESULTS",
        "Skipped: filter – <code>segment</code> failed",
        "<dt>Lesions accepted</dt><dd>–</dd>",
        "no pictures: there is no image to draw them on",
    ] {
        assert!(page.contains(wanted), "the page lacks {wanted}");
    }
    assert!(!page.contains("UNKNOWN MODEL"), "there is no result whose model could be unknown");
}

#[test]
fn nothing_at_all_still_gives_a_page() {
    let page = text(&run::<CaseReport>(json!({}), &Inputs::new()).unwrap(), "html");
    assert!(page.contains("<h1>sub-test</h1>"), "the engine's label stands in");
}

#[test]
fn results_without_a_card_come_from_an_unknown_model() {
    let inputs = Inputs::new().with("table", table(&centres(3)));
    let page = text(&run::<CaseReport>(json!({}), &inputs).unwrap(), "html");
    assert!(page.contains("UNKNOWN MODEL"));
    assert!(page.contains("<dt>Lesions accepted</dt><dd>3</dd>"), "the table alone is enough to count");
}

#[test]
fn a_head_without_a_mask_is_not_embedded() {
    let inputs = Inputs::new().with("reference", brain(grid(SMALL)));
    let page = text(&run::<CaseReport>(json!({}), &inputs).unwrap(), "html");
    assert!(
        !page.contains("data:image/png") && page.contains("without a brain mask they could show the face")
    );
    let page = text(&run::<CaseReport>(json!({"embed_heads": true}), &inputs).unwrap(), "html");
    assert!(page.contains("data:image/png"));
}

#[test]
fn labels_on_another_grid_are_drawn_and_counted() {
    let fine = grid([100, 100, 40]);
    let inputs = Inputs::new()
        .with("reference", brain(grid(SMALL)))
        .with("mask", ball_mask(grid(SMALL), [0.0; 3], 75.0))
        .with("lesions", lesions(fine, &centres(3)));
    let page = text(&run::<CaseReport>(json!({}), &inputs).unwrap(), "html");
    assert!(page.contains("<dt>Lesions accepted</dt><dd>3</dd>"));
    assert!(page.contains("id=\"lesion-3\""), "each lesion has its pictures");
}

#[test]
fn odd_images_give_a_page_and_no_panic() {
    let flat = Grid::axis_aligned([5, 5, 1], [1.0; 3]);
    for (grid, value) in [(flat, 3.0), (Grid::axis_aligned([1; 3], [1.0; 3]), f32::NAN)] {
        let image = Image::new(grid, vec![value; grid.len()]).unwrap();
        let inputs = Inputs::new()
            .with("reference", image)
            .with("lesions", Labels::new(grid, vec![7; grid.len()]).unwrap());
        run::<CaseReport>(json!({"embed_heads": true}), &inputs).unwrap();
    }
    let crushed = Grid::new([4; 3], Affine::scale_shift([1.0, 0.0, 1.0], [0.0; 3]));
    let inputs = Inputs::new().with("reference", Image::new(crushed, vec![1.0; 64]).unwrap());
    let page = text(&run::<CaseReport>(json!({"embed_heads": true}), &inputs).unwrap(), "html");
    assert!(page.contains("the grid of the reference image cannot be drawn"));
}

#[test]
fn an_unreadable_plan_costs_the_plan_and_not_the_page() {
    let inputs = Inputs::new().with("plan", Document::new("application/json", "{\"stages\": 3}"));
    let page = text(&run::<CaseReport>(json!({}), &inputs).unwrap(), "html");
    assert!(page.contains("the plan could not be read: invalid type: integer <code>3</code>"));
}

#[test]
fn a_setting_out_of_range_is_refused() {
    let error = run::<CaseReport>(json!({"display_threshold": 2.0}), &Inputs::new()).unwrap_err();
    assert_eq!(error.message, "setting `display_threshold` is 2, outside 0.01 to 0.99");
    assert!(error.hint.is_some());
}
