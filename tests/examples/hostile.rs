//! A plugin that does everything wrong that a plugin can do, and a few operators that do almost nothing.

#![expect(missing_docs, clippy::panic, reason = "each operator's summary tells what it is for")]

use sdk::{
    CaseEntry, Cases, Column, Context, Document, FileSetting, Grid, GroupOperator, Image, Inputs, Interface,
    JsonSchema, NoSettings, Operator, OperatorError, OperatorInfo, Outputs, Place, Port, Table, Wiring,
};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

const IMAGE_IN: &[Port] = &[Port::image("image").on("g")];
const IMAGE_OUT: &[Port] = &[Port::image("image").on("g")];

/// Makes an operator without settings from its INFO fields, what `open` does, and what `run` does.
macro_rules! operator {
    ($type:ident, $name:literal, $summary:literal, $open:expr, $run:expr) => {
        pub struct $type;

        impl Operator for $type {
            const INFO: OperatorInfo = OperatorInfo {
                name: $name,
                role: Some("passer"),
                summary: $summary,
                inputs: IMAGE_IN,
                outputs: IMAGE_OUT,
                ..OperatorInfo::CASE
            };
            type Settings = NoSettings;

            fn open(_: NoSettings, _: &Place) -> Result<Self, OperatorError> {
                $open();
                Ok(Self)
            }

            fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
                let run: fn(Image, &Context) -> Result<Outputs, OperatorError> = $run;
                run(inputs.image("image")?, ctx)
            }
        }
    };
}

fn image_with(grid: Grid, value: f32) -> Image {
    Image::new(grid, vec![value; grid.len()]).expect("one number for each voxel")
}

fn nothing() {}

operator!(Pass, "pass", "Hands on its image, the very same voxels.", nothing, |image, _| {
    Ok(Outputs::new().with("image", image))
});
operator!(PanicRun, "panic_run", "Panics when it runs.", nothing, |image, _| {
    panic!("no room for {} voxels", image.voxels().len())
});
operator!(PanicPart, "panic_part", "Panics on one of the engine's threads.", nothing, |image, ctx| {
    ctx.parallel(8, |part| assert!(part != 5, "part {part} is unlucky"));
    Ok(Outputs::new().with("image", image))
});
operator!(
    PanicOpen,
    "panic_open",
    "Panics when it is opened.",
    || panic!("the weights are sour"),
    |image, _| { Ok(Outputs::new().with("image", image)) }
);
operator!(Fails, "fails", "Returns an error with a hint.", nothing, |_, _| {
    Err(OperatorError::failed("found 3 legs where 4 are expected").hint("count again"))
});
operator!(MakesNan, "makes_nan", "Makes an image that is no number.", nothing, |image, _| {
    Ok(Outputs::new().with("image", image_with(*image.grid(), f32::NAN)))
});
operator!(WrongGrid, "wrong_grid", "Makes an image on another grid than it promised.", nothing, |_, _| {
    Ok(Outputs::new().with("image", image_with(Grid::axis_aligned([3; 3], [1.0; 3]), 1.0)))
});
operator!(WrongKind, "wrong_kind", "Makes a number where it promised an image.", nothing, |_, _| {
    Ok(Outputs::new().with("image", 4.0))
});
operator!(WrongPort, "wrong_port", "Makes an output that it does not declare.", nothing, |image, _| {
    Ok(Outputs::new().with("image", image.clone()).with("bonus", image))
});
operator!(MakesNothing, "makes_nothing", "Does not make what it promised.", nothing, |_, _| Ok(
    Outputs::new()
));

/// Panics when it is dropped.
pub struct PanicDrop;

impl Drop for PanicDrop {
    fn drop(&mut self) {
        panic!("I do not want to go");
    }
}

impl Operator for PanicDrop {
    const INFO: OperatorInfo =
        OperatorInfo { name: "panic_drop", summary: "Panics when it is dropped.", ..Pass::INFO };
    type Settings = NoSettings;

    fn open(_: NoSettings, _: &Place) -> Result<Self, OperatorError> {
        Ok(Self)
    }

    fn run(&mut self, inputs: &Inputs, _: &Context) -> Result<Outputs, OperatorError> {
        Ok(Outputs::new().with("image", inputs.image("image")?))
    }
}

/// Panics when it is asked for its interface.
pub struct PanicInterface;

impl Operator for PanicInterface {
    const INFO: OperatorInfo = OperatorInfo {
        name: "panic_interface",
        summary: "Panics when it is asked for its interface.",
        ..Pass::INFO
    };
    type Settings = NoSettings;

    fn interface(_: &NoSettings, _: &Wiring) -> Result<Interface, OperatorError> {
        panic!("which interface?")
    }

    fn open(_: NoSettings, _: &Place) -> Result<Self, OperatorError> {
        Ok(Self)
    }

    fn run(&mut self, _: &Inputs, _: &Context) -> Result<Outputs, OperatorError> {
        Ok(Outputs::new())
    }
}

/// How long to sleep.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Sleep {
    /// Seconds.
    seconds: f64,
    /// Whether to look if it should stop.
    heed: bool,
}

/// Sleeps.
pub struct Sleeper(Sleep);

impl Operator for Sleeper {
    const INFO: OperatorInfo = OperatorInfo {
        name: "sleeper",
        summary: "Sleeps, and may ignore that it should stop.",
        ..Pass::INFO
    };
    type Settings = Sleep;

    fn open(settings: Sleep, _: &Place) -> Result<Self, OperatorError> {
        Ok(Self(settings))
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        /// How often it looks.
        const NAP: Duration = Duration::from_millis(5);
        let end = Instant::now() + Duration::from_secs_f64(self.0.seconds);
        while Instant::now() < end {
            if self.0.heed {
                ctx.check_cancelled()?;
            }
            std::thread::sleep(NAP);
        }
        Ok(Outputs::new().with("image", inputs.image("image")?))
    }
}

/// Who is hungry, and how much.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Hunger {
    /// MiB that it takes.
    mib: u32,
    /// Only for an image with a voxel above this.
    above: f32,
}

/// Holds memory for a moment.
pub struct Hungry(Hunger);

impl Operator for Hungry {
    const INFO: OperatorInfo =
        OperatorInfo { name: "hungry", summary: "Takes memory for some images.", ..Pass::INFO };
    type Settings = Hunger;

    fn open(settings: Hunger, _: &Place) -> Result<Self, OperatorError> {
        Ok(Self(settings))
    }

    fn run(&mut self, inputs: &Inputs, _: &Context) -> Result<Outputs, OperatorError> {
        let image = inputs.image("image")?;
        if image.voxels().iter().any(|voxel| *voxel > self.0.above) {
            // Written to, so that the kernel gives it.
            let held = vec![1_u8; (self.0.mib as usize) << 20];
            std::hint::black_box(&held);
        }
        Ok(Outputs::new().with("image", image))
    }
}

/// What stands for a model.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct ShiftFile {
    /// A text file with a number.
    file: FileSetting,
}

/// Adds a number that a file holds.
pub struct Shift(f32);

impl Operator for Shift {
    const INFO: OperatorInfo =
        OperatorInfo { name: "shift", summary: "Adds the number that a file holds.", ..Pass::INFO };
    type Settings = ShiftFile;

    fn open(settings: ShiftFile, _: &Place) -> Result<Self, OperatorError> {
        Ok(Self(std::fs::read_to_string(settings.file.as_ref())?.trim().parse()?))
    }

    fn run(&mut self, inputs: &Inputs, _: &Context) -> Result<Outputs, OperatorError> {
        let image = inputs.image("image")?;
        let voxels = image.voxels().iter().map(|voxel| voxel + self.0).collect::<Vec<f32>>();
        Ok(Outputs::new().with("image", Image::new(*image.grid(), voxels)?))
    }
}

/// Does nothing, for the bench of the engine's own cost.
pub struct Nothing;

impl Operator for Nothing {
    const INFO: OperatorInfo = OperatorInfo {
        name: "nothing",
        summary: "Hands on a number.",
        inputs: &[Port::number("number")],
        outputs: &[Port::number("number")],
        ..OperatorInfo::CASE
    };
    type Settings = NoSettings;

    fn open(_: NoSettings, _: &Place) -> Result<Self, OperatorError> {
        Ok(Self)
    }

    fn run(&mut self, inputs: &Inputs, _: &Context) -> Result<Outputs, OperatorError> {
        Ok(Outputs::new().with("number", inputs.number("number")?))
    }
}

/// Says in its log what it sees, and uses what the engine offers.
pub struct Talker;

impl Operator for Talker {
    const INFO: OperatorInfo = OperatorInfo {
        name: "talker",
        summary: "Uses log, progress, scratch folder and threads.",
        ..Pass::INFO
    };
    type Settings = NoSettings;

    fn open(_: NoSettings, _: &Place) -> Result<Self, OperatorError> {
        Ok(Self)
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let image = inputs.image("image")?;
        tracing::info!(voxels = image.voxels().len(), "looking at {}", ctx.case_label());
        std::fs::write(ctx.scratch()?.join("note"), b"scratch")?;
        let mut twice = ctx.alloc::<f32>(image.voxels().len())?;
        let row = image.grid().shape[0];
        ctx.fill(&mut twice, row, |piece, out| {
            let start = piece * row;
            for (out, voxel) in out.iter_mut().zip(&image.voxels()[start..]) {
                *out = 2.0 * voxel;
            }
        });
        ctx.progress(1.0, "doubled");
        Ok(Outputs::new().with("image", Image::new(*image.grid(), twice.freeze())?))
    }
}

/// Counts the cases of a group, failed ones apart.
pub struct Census;

impl GroupOperator for Census {
    const INFO: OperatorInfo = OperatorInfo {
        name: "census",
        summary: "Counts the cases of a cohort.",
        inputs: &[Port::number("number")],
        outputs: &[Port::table("table")],
        ..OperatorInfo::COHORT
    };
    type Settings = NoSettings;

    fn open(_: NoSettings, _: &Place) -> Result<Self, OperatorError> {
        Ok(Self)
    }

    fn run(&mut self, cases: &dyn Cases, _: &Context) -> Result<Outputs, OperatorError> {
        let columns = ["case", "number", "failure"].map(|name| Column::new(name, "", name));
        let mut table = Table::new(columns.to_vec());
        for index in 0..cases.len() {
            let CaseEntry { label, failure, .. } = cases.entry(index)?;
            let number = cases.inputs(index)?.optional_number("number")?;
            table.rows.push(vec![label.into(), number.into(), failure.into()]);
        }
        Ok(Outputs::new().with("table", table))
    }
}

/// Lists the sessions of a subject; panics for the subject `bad`.
pub struct Visits;

impl GroupOperator for Visits {
    const INFO: OperatorInfo = OperatorInfo {
        name: "visits",
        summary: "Lists the sessions of a subject.",
        inputs: &[Port::number("number").optional()],
        outputs: &[Port::document("list")],
        ..OperatorInfo::SUBJECT
    };
    type Settings = NoSettings;

    fn open(_: NoSettings, _: &Place) -> Result<Self, OperatorError> {
        Ok(Self)
    }

    fn run(&mut self, cases: &dyn Cases, ctx: &Context) -> Result<Outputs, OperatorError> {
        assert!(ctx.case_label() != "sub-bad", "a subject I do not like");
        let sessions: Result<Vec<_>, _> = (0..cases.len())
            .map(|index| Ok::<_, OperatorError>(cases.entry(index)?.session.unwrap_or_default()))
            .collect();
        Ok(Outputs::new().with("list", Document::new("text/plain", sessions?.join(" "))))
    }
}

sdk::export_plugin![
    Pass, PanicRun, PanicPart, PanicOpen, PanicDrop, PanicInterface, Fails, MakesNan, WrongGrid, WrongKind, WrongPort,
    MakesNothing, Sleeper, Hungry, Shift, Nothing, Talker; groups: Census, Visits
];
