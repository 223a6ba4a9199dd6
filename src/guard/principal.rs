//! Who asks.

use std::sync::Arc;

use super::keyring::Credential;
use super::scope::Scope;

/// On whose behalf a request is made.
#[derive(Debug, Clone)]
pub enum Principal {
    /// Somebody, where no keys are asked for: may do everything.
    Anybody,
    /// Somebody without a key, where keys are asked for: may do nothing that needs one.
    Stranger,
    /// The holder of a key.
    Key(Arc<Credential>),
}

impl Principal {
    /// Whose the conversations are that it begins: the key's id; nobody's without a key.
    #[must_use]
    pub fn owner(&self) -> Option<String> {
        self.credential().map(|key| key.record.id.clone())
    }

    /// Whether it may do that.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        match self {
            Self::Anybody => true,
            Self::Stranger => false,
            Self::Key(key) => key.may(scope),
        }
    }

    pub(super) fn credential(&self) -> Option<&Arc<Credential>> {
        match self {
            Self::Anybody | Self::Stranger => None,
            Self::Key(key) => Some(key),
        }
    }
}
