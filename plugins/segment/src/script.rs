//! TorchScript models: a network in a `.pt` file, and beside it a card in TOML, `model.pt` and `model.toml`.
//!
//! The file brings its own layers, so that any network runs that reads patches of images: exports of nnU-Net, of MONAI, a
//! site's own. While a workflow is checked only the card and the file's directory are read.

pub mod archive;
pub mod card;

use archive::Archive;
use card::{ScriptCard, ScriptCardError};
use std::path::{Path, PathBuf};

/// Ends of file names that mean TorchScript.
const EXTENSIONS: [&str; 3] = ["pt", "pth", "ts"];

/// Why a TorchScript model cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptModelError {
    /// There is no card.
    #[error(
        "model `{}` has no card: {} is not there\n\
         hint: write its channels, patch and normalisation into that file, as the plugin's README shows",
        path.display(), card.display()
    )]
    NoCard {
        /// The model file.
        path: PathBuf,
        /// Where its card should be.
        card: PathBuf,
    },
    /// A file cannot be read.
    #[error("model `{}` cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The card cannot be used.
    #[error("card {}: {source}", path.display())]
    Card {
        /// The card.
        path: PathBuf,
        /// Why.
        source: ScriptCardError,
    },
    /// The file holds no TorchScript network.
    #[error(
        "model `{}` is no TorchScript network: {reason}\n\
         hint: export it with torch.jit.trace(network.eval(), example).save(…)",
        path.display()
    )]
    NoScript {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        reason: &'static str,
    },
}

/// A TorchScript model whose card was read and whose files are there.
#[derive(Clone, Debug)]
pub struct ScriptModel {
    /// The file that the settings name.
    pub path: PathBuf,
    /// The card beside it.
    pub card_path: PathBuf,
    /// What the card says.
    pub card: ScriptCard,
    /// The networks of the ensemble; often one.
    pub files: Vec<PathBuf>,
    /// Tensors in the first of them.
    pub tensors: usize,
}

impl ScriptModel {
    /// Whether a file's name says that it is of this kind.
    pub fn is_meant(path: &Path) -> bool {
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|found| EXTENSIONS.iter().any(|known| found.eq_ignore_ascii_case(known)))
    }

    /// Reads the card beside a file, and looks whether its files are what it says.
    ///
    /// # Errors
    /// [`ScriptModelError`], naming the file or the card's key.
    pub fn read(path: &Path) -> Result<Self, ScriptModelError> {
        let card_path = path.with_extension("toml");
        let unreadable = |source| ScriptModelError::Read { path: path.to_owned(), source };
        std::fs::metadata(path).map_err(unreadable)?;
        let text = match std::fs::read_to_string(&card_path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ScriptModelError::NoCard { path: path.to_owned(), card: card_path });
            }
            Err(source) => return Err(ScriptModelError::Read { path: card_path, source }),
        };
        let card = ScriptCard::parse(&text)
            .map_err(|source| ScriptModelError::Card { path: card_path.clone(), source })?;
        let folder = card_path.parent().unwrap_or(Path::new(""));
        let files = if card.files.is_empty() {
            vec![path.to_owned()]
        } else {
            card.files.iter().map(|file| folder.join(file)).collect()
        };
        let mut tensors = 0;
        for (n, file) in files.iter().enumerate() {
            let looked = archive::look(file)
                .map_err(|source| ScriptModelError::Read { path: file.clone(), source })?;
            match looked {
                Archive::Script { tensors: found } if n == 0 => tensors = found,
                Archive::Script { .. } => (),
                Archive::Other(reason) => {
                    return Err(ScriptModelError::NoScript { path: file.clone(), reason });
                }
            }
        }
        Ok(Self { path: path.to_owned(), card_path, card, files, tensors })
    }

    /// BLAKE3 of the card and of all networks, in hexadecimal: whatever changes here changes the scores.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn digest(&self) -> Result<String, ScriptModelError> {
        let mut hasher = blake3::Hasher::new();
        for path in std::iter::once(&self.card_path).chain(&self.files) {
            let read = |source| ScriptModelError::Read { path: path.clone(), source };
            let mut own = blake3::Hasher::new();
            own.update_reader(std::fs::File::open(path).map_err(read)?).map_err(read)?;
            hasher.update(own.finalize().as_bytes());
        }
        Ok(hasher.finalize().to_hex().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use card::tests::CARD;

    fn script() -> Vec<u8> {
        archive::tests::archive(&["m/data.pkl", "m/constants.pkl", "m/code/__torch__.py", "m/data/0"])
    }

    #[test]
    fn a_model_without_a_card_without_its_files_or_without_a_network_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let refusal = || ScriptModel::read(&at("model.pt")).unwrap_err().to_string();
        assert!(refusal().contains("cannot be read"), "{}", refusal());
        std::fs::write(at("model.pt"), script()).unwrap();
        assert!(refusal().contains("model.toml is not there\nhint: "), "{}", refusal());
        std::fs::write(at("model.toml"), CARD.replace("16, 16", "0, 16")).unwrap();
        assert!(refusal().contains("`patch` is [0, 16, 8]"), "{}", refusal());
        std::fs::write(at("model.toml"), format!("files = [\"model.pt\", \"fold1.pt\"]\n{CARD}")).unwrap();
        assert!(refusal().contains("fold1.pt` cannot be read"), "{}", refusal());
        std::fs::write(at("fold1.pt"), archive::tests::archive(&["m/data.pkl", "m/data/0"])).unwrap();
        assert!(refusal().contains("holds weights without a network"), "{}", refusal());
    }

    #[test]
    fn the_digest_counts_the_card_and_every_network() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("model.pt"), script()).unwrap();
        std::fs::write(at("fold1.pt"), script()).unwrap();
        let card = format!("files = [\"model.pt\", \"fold1.pt\"]\n{CARD}");
        let digest = |card: &str| {
            std::fs::write(at("model.toml"), card).unwrap();
            ScriptModel::read(&at("model.pt")).unwrap().digest().unwrap()
        };
        let before = digest(&card);
        assert_eq!(digest(&card), before);
        assert_ne!(digest(&card.replace("a-unet", "another")), before);
        let mut other = script();
        other.extend([0; 1]);
        std::fs::write(at("fold1.pt"), other).unwrap();
        assert_ne!(digest(&card), before);
    }
}
