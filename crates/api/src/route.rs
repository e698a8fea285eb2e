//! Which route a request means, told from the shape of its path alone.

use std::fmt::{self, Write as _};

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};
use strum::{IntoStaticStr, VariantArray};

/// A route of the agents' API as limits and metrics know it, or one of the other APIs.
///
/// Routes that this version does not serve have their place here all the same, so that limits and dashboards
/// keep their names when they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Route {
    /// `GET /api/status`
    Status,
    /// `POST /api/fleet/agents/enroll`
    Enroll,
    /// `POST /api/fleet/agents/{id}/checkin`
    Checkin,
    /// `POST /api/fleet/agents/{id}/acks`
    Acks,
    /// `POST /api/fleet/agents/{id}/audit/unenroll`
    AuditUnenroll,
    /// `GET /api/fleet/artifacts/{id}/{sha2}`
    #[strum(serialize = "artifacts")]
    Artifact,
    /// `POST /api/fleet/uploads`
    UploadStart,
    /// `PUT /api/fleet/uploads/{id}/{chunk}`
    UploadChunk,
    /// `POST /api/fleet/uploads/{id}`
    UploadEnd,
    /// `GET /api/fleet/file/{id}`
    FileDelivery,
    /// `GET /api/agents/upgrades/{version}/pgp-public-key`
    PgpRetrieval,
    /// `/v1/opamp`
    #[strum(serialize = "opamp")]
    OpAmp,
    /// Any path of the operators' API.
    Admin,
    /// Any other path.
    Other,
}

impl Route {
    /// All of them.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The routes that have limits: all but the last two.
    pub const LIMITED: &[Self] = Self::ALL.split_at(Self::Admin as usize).0;

    /// agents.md 1.2: chosen before routing, for any method, after one trailing slash is trimmed. The path is
    /// still encoded, so an encoded slash does not split a segment.
    #[must_use]
    pub fn of(path: &str) -> Self {
        let path = path.strip_suffix('/').unwrap_or(path);
        let Some(path) = path.strip_prefix('/') else {
            return Self::Other;
        };
        let mut parts = path.split('/');
        let shape: [_; 7] = std::array::from_fn(|_| parts.next());
        match shape {
            [Some("api"), Some("fleet"), rest @ ..] => Self::of_fleet(rest),
            [Some("api"), Some("status"), None, ..] => Self::Status,
            [Some("v1"), Some("opamp"), None, ..] => Self::OpAmp,
            [
                Some("api"),
                Some("agents"),
                Some("upgrades"),
                Some(_),
                Some("pgp-public-key"),
                None,
                _,
            ] => Self::PgpRetrieval,
            _ => Self::Other,
        }
    }

    fn of_fleet(rest: [Option<&str>; 5]) -> Self {
        match rest {
            [Some("agents"), Some(_), None, ..] => Self::Enroll,
            [Some("agents"), Some(_), Some("acks"), None, _] => Self::Acks,
            [Some("agents"), Some(_), Some("checkin"), None, _] => Self::Checkin,
            [Some("agents"), Some(_), Some("audit"), Some("unenroll"), None] => Self::AuditUnenroll,
            [Some("artifacts"), Some(_), Some(_), None, _] => Self::Artifact,
            [Some("uploads"), None, ..] => Self::UploadStart,
            [Some("uploads"), Some(_), None, ..] => Self::UploadEnd,
            [Some("uploads"), Some(_), Some(_), None, _] => Self::UploadChunk,
            [Some("file"), Some(_), None, ..] => Self::FileDelivery,
            _ => Self::Other,
        }
    }

    /// Whether it is limited after its client has shown a good key, so that others cannot use up its limits.
    pub(crate) const fn knows_its_client(self) -> bool {
        !matches!(
            self,
            Self::Status | Self::PgpRetrieval | Self::Admin | Self::Other
        )
    }

    /// Its place among [`Route::LIMITED`], if it has limits.
    #[must_use]
    pub fn index(self) -> Option<usize> {
        Some(self as usize).filter(|place| *place < Self::LIMITED.len())
    }

    /// Its name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl EncodeLabelValue for Route {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_of_paths() {
        for (path, route) in [
            ("/api/status", Route::Status),
            ("/api/status/", Route::Status),
            ("/api/fleet/agents/enroll", Route::Enroll),
            ("/api/fleet/agents/temporary", Route::Enroll),
            ("/api/fleet/agents/a1/checkin", Route::Checkin),
            ("/api/fleet/agents/a%2F1/checkin/", Route::Checkin),
            ("/api/fleet/agents/a1/acks", Route::Acks),
            ("/api/fleet/agents/a1/audit/unenroll", Route::AuditUnenroll),
            ("/api/fleet/artifacts/x/y", Route::Artifact),
            ("/api/fleet/uploads", Route::UploadStart),
            ("/api/fleet/uploads/u", Route::UploadEnd),
            ("/api/fleet/uploads/u/0", Route::UploadChunk),
            ("/api/fleet/file/f", Route::FileDelivery),
            ("/api/agents/upgrades/9.6.0/pgp-public-key", Route::PgpRetrieval),
            ("/v1/opamp", Route::OpAmp),
            ("/api/fleet/agents/a1/b/checkin", Route::Other),
            ("/api/fleet/agents", Route::Other),
            ("/api/status//", Route::Other),
            ("/nope", Route::Other),
            ("", Route::Other),
            ("*", Route::Other),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }

    #[test]
    fn every_limited_route_knows_its_place() {
        for (place, route) in Route::LIMITED.iter().enumerate() {
            assert_eq!(route.index(), Some(place));
        }
        assert_eq!(Route::Other.index(), None);
    }
}
