//! What the store knows of the embedder whose vectors it holds.

use std::collections::HashMap;
use std::path::Path;

use mentor_actors::domain::EngineError;

use super::error::StoreError;
use crate::StoreIdentity;

/// Version of the columns and their meaning; a store of another format is refused.
const FORMAT: &str = "1";
const FORMAT_KEY: &str = "mentor.format";
const IDENTITY_KEY: &str = "mentor.identity";

impl StoreIdentity {
    pub(super) fn to_metadata(&self) -> HashMap<String, String> {
        let identity = serde_json::to_string(self).expect("strings and numbers always serialise");
        HashMap::from([(FORMAT_KEY.into(), FORMAT.into()), (IDENTITY_KEY.into(), identity)])
    }

    pub(super) fn from_metadata(metadata: &HashMap<String, String>) -> Result<Self, StoreError> {
        match metadata.get(FORMAT_KEY).map(String::as_str) {
            Some(FORMAT) => {}
            Some(other) => return Err(StoreError::Damaged(format!("it has format {other}, not {FORMAT}"))),
            None => return Err(StoreError::Damaged("it was not made by this program".into())),
        }
        let text = metadata.get(IDENTITY_KEY).map_or("", String::as_str);
        serde_json::from_str(text).map_err(|error| StoreError::Damaged(format!("its identity is unreadable: {error}")))
    }

    /// Refuses a store that was made with another identity than this.
    ///
    /// # Errors
    /// [`EngineError::Load`] naming what differs and the command that repairs it.
    pub(super) fn check(&self, stored: &Self, data_dir: &Path) -> Result<(), EngineError> {
        if self.agrees_with(stored) {
            return Ok(());
        }
        let facets = stored.facets().into_iter().zip(self.facets());
        let (theirs, ours): (Vec<_>, Vec<_>) = facets.filter(|(theirs, ours)| theirs != ours).unzip();
        Err(EngineError::Load(format!(
            "the store in {} was made with {}; this is {}: run `mentor ingest --overwrite` to rebuild it",
            data_dir.display(),
            theirs.join(", "),
            ours.join(", ")
        )))
    }

    /// Every part of the identity, in words.
    fn facets(&self) -> [String; 5] {
        [
            format!("embedder {} ({} dimensions)", self.embedder, self.dimension),
            format!("{} pooling", self.pooling),
            format!("chunks of at most {} tokens", self.max_tokens),
            format!("chunker version {}", self.chunker_version),
            format!("tokenizer {}", self.tokenizer.as_deref().unwrap_or("unknown")),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> StoreIdentity {
        StoreIdentity {
            embedder: "all-MiniLM-L6-v2".into(),
            dimension: 384,
            pooling: "mean".into(),
            max_tokens: 256,
            chunker_version: 1,
            tokenizer: None,
        }
    }

    #[test]
    fn an_identity_survives_the_way_through_the_metadata() {
        assert_eq!(StoreIdentity::from_metadata(&identity().to_metadata()).unwrap(), identity());
    }

    #[test]
    fn a_difference_is_named_with_the_command_that_repairs_it() {
        let other = StoreIdentity { embedder: "bge-base".into(), dimension: 768, ..identity() };
        let error = other.check(&identity(), Path::new("vector_data")).unwrap_err();
        assert_eq!(
            error,
            EngineError::Load(
                "the store in vector_data was made with embedder all-MiniLM-L6-v2 (384 dimensions); this is embedder \
                 bge-base (768 dimensions): run `mentor ingest --overwrite` to rebuild it"
                    .into()
            )
        );
        assert!(identity().check(&identity(), Path::new("vector_data")).is_ok());
    }

    #[test]
    fn another_tokenizer_is_refused_where_both_are_known() {
        let with = |tokenizer: &str| StoreIdentity { tokenizer: Some(tokenizer.into()), ..identity() };
        let check = |ours: &StoreIdentity, stored: &StoreIdentity| ours.check(stored, Path::new("vector_data"));
        let error = check(&with("abc"), &with("def")).unwrap_err().to_string();
        assert!(error.contains("was made with tokenizer def; this is tokenizer abc"), "{error}");
        assert!(check(&with("abc"), &with("abc")).is_ok());
        assert!(check(&with("abc"), &identity()).is_ok(), "a store from before");
        assert!(check(&identity(), &with("abc")).is_ok());
        let metadata = identity().to_metadata();
        assert!(!metadata[IDENTITY_KEY].contains("tokenizer"), "as it was written before");
    }

    #[test]
    fn a_store_of_another_format_or_maker_is_refused() {
        let mut metadata = identity().to_metadata();
        metadata.insert(FORMAT_KEY.into(), "9".into());
        assert!(StoreIdentity::from_metadata(&metadata).unwrap_err().to_string().contains("format 9"));
        assert!(StoreIdentity::from_metadata(&HashMap::new()).is_err());
    }
}
