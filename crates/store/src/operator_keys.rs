//! O17: operators' keys, which open the admin API, each with a role.
//!
//! In: name, role and end of a key. Out: its presented form once, later its record. A key is verified like any other
//! ([`crate::Keys::verify`]); what its role permits, the domain decides.

use async_trait::async_trait;
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::{ApiKey, KeyId, Page, PageRequest, Result, Timestamp};

/// What an operator's key is for; a later one includes those before it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, EnumString, VariantArray,
)]
#[strum(serialize_all = "lowercase")]
pub enum OperatorRole {
    /// Reads.
    Viewer,
    /// Changes agents, policies, tokens and what belongs to them.
    Operator,
    /// Also decides who may do so.
    Admin,
}

impl OperatorRole {
    /// All of them; the embedded engine stores a role's place here.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// An operator's key to be made.
#[derive(Clone, Debug)]
pub struct NewOperatorKey {
    /// Shown to operators.
    pub name: String,
    /// What it is for.
    pub role: OperatorRole,
    /// When it expires; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// Time of creation.
    pub at: Timestamp,
}

/// The record of an operator's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorKey {
    /// Its public half.
    pub id: KeyId,
    /// Shown to operators.
    pub name: String,
    /// What it is for.
    pub role: OperatorRole,
    /// `false` once revoked.
    pub active: bool,
    /// When it expires; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// Time of creation.
    pub created_at: Timestamp,
}

/// Operators' keys.
#[async_trait]
pub trait OperatorKeys: Send + Sync + 'static {
    /// O17: issues a key with its record. Only this answer has the key's presented form. One document: whole or absent.
    async fn create_operator_key(&self, key: NewOperatorKey) -> Result<(OperatorKey, ApiKey)>;

    /// O17: the record, revoked or not. A key of [`crate::KeyOwner::Operator`] that was issued or adopted without a role
    /// is an admin's.
    async fn operator_key(&self, id: &KeyId) -> Result<Option<OperatorKey>>;

    /// O17: the records, newest first.
    async fn operator_keys(&self, page: PageRequest) -> Result<Page<OperatorKey>>;

    /// O17: revokes the key, which stays on record. Idempotent. It counts as for [`crate::Keys::verify`].
    ///
    /// # Errors
    /// [`crate::StoreError::NotFound`].
    async fn revoke_operator_key(&self, id: &KeyId, at: Timestamp) -> Result<()>;
}
