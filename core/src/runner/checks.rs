//! What the engine checks at a stage's door: grids on the way in; presence, kinds, grids and ranges on the way out.

use sdk::port::{GridSpec, Interface, KindSpec, PortSpec};
use sdk::{AnyVolume, Grid, Inputs, Kind, OperatorError, Value};
use std::collections::BTreeMap;

/// The grids and kinds that an interface's variables stand for in one run.
#[derive(Default)]
pub(crate) struct Bindings {
    grids: BTreeMap<String, (Grid, String)>,
    kinds: BTreeMap<String, Kind>,
}

/// Binds the variables of the inputs.
///
/// # Errors
/// When two values that share a grid variable lie on different grids.
pub(crate) fn entry(interface: &Interface, inputs: &Inputs) -> Result<Bindings, OperatorError> {
    let mut bindings = Bindings::default();
    for (port, member, value) in inputs.iter() {
        let Some(spec) = interface.inputs.iter().find(|spec| spec.name == port) else {
            continue;
        };
        bindings.bind_kind(spec, value);
        if let (GridSpec::On(var), Some(volume)) = (&spec.grid, value.volume()) {
            let name = format!("input {}", name_of(port, member));
            bindings.bind_grid(var, volume.grid(), &name).map_err(|error| {
                error.hint("do the files belong to one case and one co-registration? a `register` or `resample` stage puts them on one grid")
            })?;
        }
    }
    Ok(bindings)
}

fn name_of(port: &str, member: &str) -> String {
    if member.is_empty() { format!("`{port}`") } else { format!("`{port}.{member}`") }
}

impl Bindings {
    fn bind_kind(&mut self, spec: &PortSpec, value: &Value) {
        if let KindSpec::Volume(var) = &spec.kind
            && !var.is_empty()
        {
            self.kinds.insert(var.clone(), value.kind());
        }
    }

    fn bind_grid(&mut self, var: &str, grid: &Grid, name: &str) -> Result<(), OperatorError> {
        let Some((bound, first)) = self.grids.get(var) else {
            self.grids.insert(var.to_owned(), (*grid, name.to_owned()));
            return Ok(());
        };
        if bound.matches(grid) {
            return Ok(());
        }
        let apart = bound.corner_distance_mm(grid);
        let apart =
            if apart.is_finite() { format!("; corners up to {apart:.2} mm apart") } else { String::new() };
        Err(OperatorError::failed(format!("{name} lies on {grid}, but {first} on {bound}{apart}")))
    }
}

/// Holds what an operator made against what it promised, and looks at every voxel that is new.
///
/// # Errors
/// The first broken promise.
pub(crate) fn exit(
    interface: &Interface,
    mut bindings: Bindings,
    inputs: &Inputs,
    outputs: &Inputs,
) -> Result<(), OperatorError> {
    for (port, member, value) in outputs.iter() {
        let name = name_of(port, member);
        let Some(spec) = interface.outputs.iter().find(|spec| spec.name == port) else {
            return Err(broken(format!("it made {name}, which its interface does not have")));
        };
        if spec.many && !spec.members.iter().any(|known| known == member) {
            return Err(broken(format!("it made {name}, a member its interface does not have")));
        }
        check_kind(spec, &bindings, value, &name)?;
        let (GridSpec::On(var)
        | GridSpec::Fresh(var)
        | GridSpec::Derived { var, .. }
        | GridSpec::Cropped { var, .. }) = &spec.grid
        else {
            check_voxels(inputs, value, &name)?;
            continue;
        };
        if let Some(volume) = value.volume() {
            let grid = volume.grid();
            bindings
                .bind_grid(var, grid, &format!("output {name}"))
                .map_err(|error| broken(error.message))?;
        }
        check_voxels(inputs, value, &name)?;
    }
    missing_output(interface, outputs).map_or(Ok(()), |name| Err(broken(format!("it did not make {name}"))))
}

fn broken(message: String) -> OperatorError {
    OperatorError::failed(message).hint("this is a fault of the plugin: tell its author")
}

fn missing_output(interface: &Interface, outputs: &Inputs) -> Option<String> {
    let required = interface.outputs.iter().filter(|spec| !spec.optional);
    for spec in required {
        if !spec.many && outputs.value(&spec.name).is_none() {
            return Some(name_of(&spec.name, ""));
        }
        let made: Vec<&str> = outputs.members(&spec.name).map(|(member, _)| member).collect();
        if let Some(member) = spec.members.iter().find(|member| !made.contains(&member.as_str())) {
            return Some(name_of(&spec.name, member));
        }
    }
    None
}

fn check_kind(spec: &PortSpec, bindings: &Bindings, value: &Value, name: &str) -> Result<(), OperatorError> {
    let found = value.kind();
    let fits = match &spec.kind {
        KindSpec::Exact(kind) => found == *kind,
        KindSpec::Volume(var) => {
            found.is_volume() && bindings.kinds.get(var).is_none_or(|kind| found == *kind)
        }
        KindSpec::Any => true,
    };
    if fits { Ok(()) } else { Err(broken(format!("it made {found} at {name} instead of {}", spec.kind))) }
}

/// Every number of a new volume: finite, and in the range of its kind. A buffer that came in is known already.
fn check_voxels(inputs: &Inputs, value: &Value, name: &str) -> Result<(), OperatorError> {
    let Some(volume) = value.volume() else {
        return Ok(());
    };
    let known = inputs.iter().filter_map(|(_, _, input)| input.volume());
    if known.into_iter().any(|input| input.kind() == volume.kind() && address(input) == address(volume)) {
        return Ok(());
    }
    let bad = match volume {
        AnyVolume::Image(v) => first_bad(v.voxels(), |x| x.is_finite()),
        AnyVolume::Probability(v) => first_bad(v.voxels(), |x| (0.0..=1.0).contains(x)),
        AnyVolume::Mask(v) => first_bad(v.voxels(), |x| *x <= 1),
        AnyVolume::Labels(_) => None,
    };
    let Some((offset, found)) = bad else {
        return Ok(());
    };
    let [i, j, k] = volume.grid().index(offset);
    let limit = match volume.kind() {
        Kind::Probability => "0 to 1",
        Kind::Mask => "0 or 1",
        _ => "a finite number",
    };
    Err(OperatorError::failed(format!("{name} is {found} at voxel [{i}, {j}, {k}], expected {limit}")))
}

fn address(volume: &AnyVolume) -> *const u8 {
    match volume {
        AnyVolume::Image(v) => v.voxels().as_ptr().cast(),
        AnyVolume::Mask(v) => v.voxels().as_ptr(),
        AnyVolume::Labels(v) => v.voxels().as_ptr().cast(),
        AnyVolume::Probability(v) => v.voxels().as_ptr().cast(),
    }
}

/// Voxels looked at before the loop asks whether one was bad: short enough to stay in cache, long enough to vectorise.
const CHUNK: usize = 4096;

fn first_bad<T: Copy + std::fmt::Display>(
    voxels: &[T],
    good: impl Fn(&T) -> bool,
) -> Option<(usize, String)> {
    for (n, chunk) in voxels.chunks(CHUNK).enumerate() {
        if !chunk.iter().fold(true, |all, voxel| all & good(voxel)) {
            let at = chunk.iter().position(|voxel| !good(voxel))?;
            return Some((n * CHUNK + at, chunk[at].to_string()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::{Image, Mask, Port};

    fn image(side: usize, value: f32) -> Image {
        Image::new(Grid::axis_aligned([side; 3], [1.0; 3]), vec![value; side.pow(3)]).unwrap()
    }

    fn interface() -> Interface {
        const INPUTS: &[Port] = &[Port::image("channels").on("g").many()];
        const OUTPUTS: &[Port] = &[Port::image("sum").on("g")];
        Interface::of(INPUTS, OUTPUTS)
    }

    fn message(result: Result<(), OperatorError>) -> String {
        result.unwrap_err().message
    }

    #[test]
    fn members_on_different_grids_are_stopped_at_the_door() {
        let inputs = Inputs::new().with_member("channels", "t1", image(4, 1.0)).with_member(
            "channels",
            "t2",
            image(5, 1.0),
        );
        let error = entry(&interface(), &inputs).err().unwrap();
        assert!(error.message.starts_with("input `channels.t2` lies on 5x5x5"), "{error}");
    }

    #[test]
    fn every_broken_promise_is_named() {
        let inputs = Inputs::new().with_member("channels", "t1", image(4, 1.0));
        let exit_of = |outputs: Inputs| {
            let interface = interface();
            exit(&interface, entry(&interface, &inputs).unwrap(), &inputs, &outputs)
        };
        assert!(exit_of(Inputs::new().with("sum", image(4, 2.0))).is_ok());
        assert_eq!(message(exit_of(Inputs::new())), "it did not make `sum`");
        assert!(message(exit_of(Inputs::new().with("sum", image(3, 2.0)))).contains("lies on 3x3x3"));
        assert!(
            message(exit_of(Inputs::new().with("sum", f64::NAN)))
                .contains("number at `sum` instead of image")
        );
        assert!(message(exit_of(Inputs::new().with("total", 1.0))).contains("does not have"));
        let nan = exit_of(Inputs::new().with("sum", image(4, f32::NAN)));
        assert_eq!(message(nan), "`sum` is NaN at voxel [0, 0, 0], expected a finite number");
    }

    #[test]
    fn a_mask_of_twos_is_no_mask() {
        let grid = Grid::axis_aligned([2; 3], [1.0; 3]);
        let mask = Mask::new(grid, vec![0, 1, 0, 1, 0, 2, 0, 0]).unwrap();
        let found = check_voxels(&Inputs::new(), &mask.into(), "`mask`");
        assert_eq!(message(found), "`mask` is 2 at voxel [1, 0, 1], expected 0 or 1");
    }
}
