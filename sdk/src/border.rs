//! Values as they cross the library border: `{ kind, JSON header, buffers }`, and back.

use crate::buffer::Buf;
use crate::error::OperatorError;
use crate::geometry::Grid;
use crate::operator::Inputs;
use crate::value::{Content, Document, Facts, Kind, Table, Transform, Value};
use crate::volume::{AnyVolume, Volume, VolumeKind};
use neuroloom_abi as abi;
use neuroloom_abi::abi_stable::std_types::RVec;
use serde::{Deserialize, Serialize};

/// What a value needs beside its buffers.
#[derive(Default, Serialize, Deserialize)]
struct Header {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grid: Option<Grid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    transform: Option<Transform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    table: Option<Table>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<std::path::PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// As text, so that infinities survive JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<String>,
    #[serde(default, skip_serializing_if = "Facts::is_empty")]
    facts: Facts,
}

/// A value for the other side.
pub fn to_abi(value: &Value) -> Result<abi::Value, OperatorError> {
    let mut header = Header { facts: value.facts.clone(), ..Header::default() };
    let mut buffers = RVec::new();
    match &value.content {
        Content::Volume(volume) => {
            header.grid = Some(*volume.grid());
            buffers.push(match volume {
                AnyVolume::Image(v) => v.buffer().raw(),
                AnyVolume::Mask(v) => v.buffer().raw(),
                AnyVolume::Labels(v) => v.buffer().raw(),
                AnyVolume::Probability(v) => v.buffer().raw(),
            });
        }
        Content::Transform(transform) => header.transform = Some(transform.clone()),
        Content::Table(table) => header.table = Some(table.clone()),
        Content::Document(document) => {
            header.media_type = Some(document.media_type.clone());
            buffers.push(document.bytes.raw());
        }
        Content::File(path) => header.path = Some(path.clone()),
        Content::Text(text) => header.text = Some(text.clone()),
        Content::Number(number) => header.number = Some(number.to_string()),
    }
    let header = serde_json::to_string(&header)?;
    Ok(abi::Value { kind: value.kind().name().into(), header: header.into(), buffers })
}

/// A value from the other side.
pub fn from_abi(value: &abi::Value) -> Result<Value, OperatorError> {
    let name = value.kind.as_str();
    let kind = Kind::from_name(name).ok_or_else(|| broken(name, "is no kind that this side knows"))?;
    let mut header: Header = serde_json::from_str(value.header.as_str())?;
    let facts = std::mem::take(&mut header.facts);
    let lacks = || broken(name, "came without its header");
    let content = match kind {
        Kind::Image => Content::Volume(AnyVolume::Image(volume(value, &header)?)),
        Kind::Mask => Content::Volume(AnyVolume::Mask(volume(value, &header)?)),
        Kind::Labels => Content::Volume(AnyVolume::Labels(volume(value, &header)?)),
        Kind::Probability => Content::Volume(AnyVolume::Probability(volume(value, &header)?)),
        Kind::Transform => Content::Transform(header.transform.ok_or_else(lacks)?),
        Kind::Table => Content::Table(header.table.ok_or_else(lacks)?),
        Kind::Document => Content::Document(Document {
            media_type: header.media_type.ok_or_else(lacks)?,
            bytes: only_buffer(value)?,
        }),
        Kind::File => Content::File(header.path.ok_or_else(lacks)?),
        Kind::Text => Content::Text(header.text.ok_or_else(lacks)?),
        Kind::Number => Content::Number(header.number.and_then(|text| text.parse().ok()).ok_or_else(lacks)?),
    };
    Ok(Value { content, facts })
}

fn volume<K: VolumeKind>(value: &abi::Value, header: &Header) -> Result<Volume<K>, OperatorError> {
    let grid = header.grid.ok_or_else(|| broken(K::KIND.name(), "came without its grid"))?;
    Ok(Volume::new(grid, only_buffer::<K::Voxel>(value)?)?)
}

fn only_buffer<T: crate::buffer::Element>(value: &abi::Value) -> Result<Buf<T>, OperatorError> {
    match &value.buffers[..] {
        [raw] => Ok(Buf::from_raw(raw.clone())?),
        list => Err(broken(value.kind.as_str(), &format!("came with {} buffers instead of 1", list.len()))),
    }
}

fn broken(kind: &str, what: &str) -> OperatorError {
    OperatorError::failed(format!("a value of kind `{kind}` {what}"))
}

/// All values of a run for the other side.
pub fn inputs_to_abi(inputs: &Inputs) -> Result<RVec<abi::PortValue>, OperatorError> {
    inputs
        .iter()
        .map(|(port, member, value)| {
            Ok(abi::PortValue { port: port.into(), member: member.into(), value: to_abi(value)? })
        })
        .collect()
}

/// All values of a run from the other side.
pub fn inputs_from_abi(values: &[abi::PortValue]) -> Result<Inputs, OperatorError> {
    let mut inputs = Inputs::new();
    for entry in values {
        inputs.insert(entry.port.as_str(), entry.member.as_str(), from_abi(&entry.value)?);
    }
    Ok(inputs)
}

/// An error for the other side.
pub fn error_to_json(error: &OperatorError) -> String {
    serde_json::to_string(error).unwrap_or_else(|_| error.to_string())
}

/// An error from the other side; text that is no JSON is taken as the message.
pub fn error_from_json(text: &str) -> OperatorError {
    serde_json::from_str(text).unwrap_or_else(|_| OperatorError::failed(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Image;

    #[test]
    fn a_volume_crosses_the_border_at_the_same_address() {
        let image =
            Image::new(Grid::axis_aligned([2, 1, 1], [1.0, 2.0, 3.0]), vec![1.0, f32::MIN_POSITIVE]).unwrap();
        let sent = Value::from(image.clone()).fact("threshold", 0.25);
        let back = from_abi(&to_abi(&sent).unwrap()).unwrap();
        let Some(AnyVolume::Image(received)) = back.volume() else { panic!("{back:?}") };
        assert_eq!(received.voxels().as_ptr(), image.voxels().as_ptr());
        assert_eq!((received.grid(), back.facts.number("threshold")), (image.grid(), Some(0.25)));
    }

    #[test]
    fn an_infinite_number_survives() {
        let back = from_abi(&to_abi(&Value::from(f64::INFINITY)).unwrap()).unwrap();
        assert!(matches!(back.content, Content::Number(n) if n == f64::INFINITY));
    }
}
