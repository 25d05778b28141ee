use super::*;
use crate::record::StateFolder;

/// A raw data set and an output folder.
struct Scene {
    _folder: tempfile::TempDir,
    place: Place,
    raw: PathBuf,
}

impl Scene {
    fn new(participants: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (raw, out) = (folder.path().join("raw"), folder.path().join("out"));
        std::fs::create_dir(&raw).unwrap();
        let state = StateFolder::of(&out);
        state.make().unwrap();
        for participant in participants {
            std::fs::create_dir(out.join(participant)).unwrap();
        }
        let place = Place { out, state, keep_replaced: 1, told: Some(raw.clone()) };
        Self { _folder: folder, place, raw }
    }

    fn say(&self, rows: &[&str]) {
        std::fs::write(self.raw.join(TABLE), format!("{}\n", rows.join("\n"))).unwrap();
    }

    fn describe(&self, descriptions: &Json) {
        std::fs::write(self.raw.join(DESCRIPTIONS), descriptions.to_string()).unwrap();
    }

    /// Brings the files up to date; the table's lines.
    fn list(&self) -> Vec<String> {
        list(&self.place, Path::new("")).unwrap();
        let once = self.files();
        list(&self.place, Path::new("")).unwrap();
        assert_eq!(self.files(), once, "a second time changes nothing");
        let text = std::fs::read_to_string(self.place.out.join(TABLE)).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn files(&self) -> [Option<Vec<u8>>; 2] {
        [TABLE, DESCRIPTIONS].map(|name| std::fs::read(self.place.out.join(name)).ok())
    }

    fn described(&self) -> Json {
        serde_json::from_slice(&std::fs::read(self.place.out.join(DESCRIPTIONS)).unwrap()).unwrap()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.place.out.join(name), text).unwrap();
    }
}

#[test]
fn participants_keep_their_columns_and_the_order_of_their_names() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(with_participants("", names(&["sub-02", "sub-01"])), "participant_id\nsub-01\nsub-02\n");
    let before = "participant_id\tage\nsub-01\t41\nsub-03\t50\n";
    let after = with_participants(before, names(&["sub-01", "sub-02", "sub-04"]));
    assert_eq!(after, "participant_id\tage\nsub-01\t41\nsub-02\tn/a\nsub-03\t50\nsub-04\tn/a\n");
}

#[test]
fn rows_of_those_who_are_there_are_copied_and_follow_the_raw_table() {
    let scene = Scene::new(&["sub-02", "sub-01", "sub-04"]);
    scene.say(&["age\tparticipant_id\tsex", "41\tsub-01\tF", "50\t02\t", "33\tsub-03\tM"]);
    let first = ["participant_id\tage\tsex", "sub-01\t41\tF", "sub-02\t50\tn/a", "sub-04\tn/a\tn/a"];
    assert_eq!(scene.list(), first);

    scene.say(&["participant_id\tage\thand\tsex", "sub-01\t42\tleft\tF", "sub-02\tn/a\tright\tM"]);
    let second = [
        "participant_id\tage\thand\tsex",
        "sub-01\t42\tleft\tF",
        "sub-02\tn/a\tright\tM",
        "sub-04\tn/a\tn/a\tn/a",
    ];
    assert_eq!(scene.list(), second);

    scene.say(&["participant_id\tsex", "sub-01\tF", "sub-02\tM"]);
    assert_eq!(scene.list(), ["participant_id\tsex", "sub-01\tF", "sub-02\tM", "sub-04\tn/a"]);
    scene.say(&["participant_id\tsex", "sub-01\tF"]);
    assert_eq!(scene.list()[2], "sub-02\tM", "who is no longer listed keeps the row");
}

#[test]
fn what_somebody_else_wrote_stays() {
    let scene = Scene::new(&["sub-01", "sub-02"]);
    scene.say(&["participant_id\tage", "sub-01\t41", "sub-02\t50"]);
    scene.describe(&json!({ "age": { "Units": "year" }, "weight": { "Units": "kg" } }));
    scene.list();
    assert_eq!(scene.described(), json!({ "age": { "Units": "year" } }));

    scene.write(TABLE, "participant_id\tage\treader\nsub-01\t40.5\tAB\nsub-02\t50\tn/a\nsub-99\t7\tCD\n");
    scene.write(DESCRIPTIONS, json!({ "age": { "Units": "a" }, "reader": "who read it" }).to_string());
    scene.say(&["participant_id\tage\tsex", "sub-01\t43\tF", "sub-02\t51\tM", "sub-99\t1\tM"]);
    scene.describe(&json!({ "age": { "Units": "y" }, "sex": { "Levels": { "F": "female" } } }));
    let expected = [
        "participant_id\tage\tsex\treader",
        "sub-01\t40.5\tF\tAB",
        "sub-02\t51\tM\tn/a",
        "sub-99\t7\tn/a\tCD",
    ];
    assert_eq!(scene.list(), expected);
    let described =
        json!({ "age": { "Units": "a" }, "sex": { "Levels": { "F": "female" } }, "reader": "who read it" });
    assert_eq!(scene.described(), described);
}

#[test]
fn descriptions_follow_those_of_the_raw_data_set() {
    let scene = Scene::new(&["sub-01"]);
    scene.say(&["participant_id\tage\tsex", "sub-01\t41\tF"]);
    scene.describe(&json!({ "age": "in years", "sex": "as recorded" }));
    scene.list();
    scene.describe(&json!({ "age": "at the first scan" }));
    scene.list();
    assert_eq!(scene.described(), json!({ "age": "at the first scan" }));
    std::fs::write(scene.raw.join(DESCRIPTIONS), "no JSON").unwrap();
    scene.list();
    assert_eq!(scene.described(), json!({}), "what is described nowhere is not described here");
}

#[test]
fn odd_texts_are_copied_as_they_are_and_what_is_no_table_is_left_alone() {
    let scene = Scene::new(&["sub-01"]);
    let long = "ä".repeat(100_000);
    scene.say(&[
        "participant_id\tnote\tlong",
        &format!("sub-01\t\"a, 'b' \\ \u{1}\"\t{long}"),
        "../../x\t1\t2",
    ]);
    assert_eq!(scene.list()[1], format!("sub-01\t\"a, 'b' \\ \u{1}\"\t{long}"));

    for foreign in [
        b"participant_id\tname\nsub-01\tJos\xe9\n".as_slice(),
        b"participant_id\tname\nsub-01\n",
        b"participant_id\ta\ta\nsub-01\t1\t2\n",
    ] {
        scene.write(TABLE, foreign);
        list(&scene.place, Path::new("")).unwrap();
        assert_eq!(std::fs::read(scene.place.out.join(TABLE)).unwrap(), foreign);
    }
    scene.write(TABLE, "name\tparticipant_id\nx\tsub-02\n");
    assert_eq!(scene.list(), ["name\tparticipant_id", "sub-01\tn/a", "x\tsub-02"]);
    scene.write(DESCRIPTIONS, "[not an object");
    list(&scene.place, Path::new("")).unwrap();
    assert_eq!(std::fs::read(scene.place.out.join(DESCRIPTIONS)).unwrap(), b"[not an object");
}

#[test]
fn a_raw_table_that_says_nothing_or_cannot_be_read_changes_nothing() {
    let scene = Scene::new(&["sub-01"]);
    for bytes in
        [&b"participant_id\nsub-01\n"[..], b"participant_id\tname\nsub-01\tJos\xe9\n", b"", b"x\ty\n1\t2\n"]
    {
        std::fs::write(scene.raw.join(TABLE), bytes).unwrap();
        assert!(!are_told_of(&scene.place), "{}", String::from_utf8_lossy(bytes));
        refresh(&scene.place).unwrap();
    }
    assert_eq!(scene.files(), [None, None]);
}

#[test]
fn the_state_folder_holds_no_cell() {
    let scene = Scene::new(&["sub-01"]);
    scene.say(&["participant_id\tname", "sub-01\tElizabeth"]);
    scene.list();
    let folder = scene.place.state.path().join("participants/sub-01");
    let texts: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    assert_eq!(texts.len(), 1);
    assert!(!texts[0].contains("Elizabeth") && !texts[0].is_empty(), "{texts:?}");
}

/// Each waits for nobody and knows of nobody, as processes on two machines would.
#[test]
fn of_many_that_publish_at_once_no_row_is_lost() {
    let scene = Scene::new(&[]);
    let rows: Vec<String> = (10..34).map(|number| format!("sub-{number}\t{}", 2 * number)).collect();
    let table: Vec<&str> =
        ["participant_id\tage"].into_iter().chain(rows.iter().map(String::as_str)).collect();
    scene.say(&table);
    std::thread::scope(|scope| {
        for number in 10..34 {
            let place = &scene.place;
            scope.spawn(move || {
                std::fs::create_dir(place.out.join(format!("sub-{number}"))).unwrap();
                list(place, Path::new("")).unwrap();
            });
        }
    });
    assert_eq!(std::fs::read_to_string(scene.place.out.join(TABLE)).unwrap(), table.join("\n") + "\n");
}
