//! Reads a NIfTI file several times and prints how long each took, for `tests/golden/nifti_speed.py`; with `--write OUT`
//! writes it as an image instead.

#![expect(clippy::print_stdout, reason = "a program's result goes to its standard output")]

use neuroloom_sdk::nifti::{self, WriteOptions};
use neuroloom_sdk::{AnyVolume, OperatorError};
use std::time::Instant;

fn main() -> Result<(), OperatorError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, rest @ ..] = &arguments[..] else {
        return Err(OperatorError::failed("no file named").hint("read_nifti FILE [TIMES | --write OUT]"));
    };
    if let [flag, out] = rest
        && flag == "--write"
    {
        let image = AnyVolume::Image(nifti::read_image(path)?);
        let start = Instant::now();
        nifti::write(out, &image, &WriteOptions { description: "read_nifti".to_owned() })?;
        println!("{}", start.elapsed().as_secs_f64());
        return Ok(());
    }
    let times: usize = rest.first().map_or(Ok(1), |times| times.parse())?;
    for _ in 0..times {
        let start = Instant::now();
        let image = nifti::read_image(path)?;
        println!(
            "{} s, {}, last voxel {:?}",
            start.elapsed().as_secs_f64(),
            image.grid(),
            image.voxels().last()
        );
    }
    Ok(())
}
