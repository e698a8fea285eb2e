//! What a route takes and answers, said beside its handler: the source of the API's description (`openapi`), and what
//! each answer is held against in debug builds.
//!
//! In: tables of members and the structs that serde reads and writes. Out: one `Operation` a method and path. It is built
//! when somebody asks for the description, and is never kept.

use actix_web::{HttpResponse, http::Method};
use fleet::OperatorRole;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::{
    error::{ApiError, Audience, Family},
    member::Member,
};

/// One method of one path.
pub(crate) struct Operation {
    /// Its name in the description: one word.
    pub(crate) id: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) key: KeyKind,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) body: Option<Body>,
    pub(crate) answers: Vec<Answer>,
    pub(crate) failures: Vec<Family>,
    /// It changes nothing, whatever its method.
    pub(crate) only_reads: bool,
    /// Failures have this type and no body, but for those that people meet.
    pub(crate) bare_failures: Option<&'static str>,
}

/// The key that a route wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    None,
    /// It says more to whoever has one.
    Optional,
    EnrollmentToken,
    Agent,
    /// An operator's, with this role or more.
    Operator(OperatorRole),
}

impl KeyKind {
    /// Reads.
    pub(crate) const VIEWER: Self = Self::Operator(OperatorRole::Viewer);
    /// Changes agents, policies and what belongs to them, or sees what is not for everybody.
    pub(crate) const OPERATOR: Self = Self::Operator(OperatorRole::Operator);
    /// Changes the server or who may do what.
    pub(crate) const ADMIN: Self = Self::Operator(OperatorRole::Admin);

    /// The role that a route of the operators' face wants. One that is declared without any is for admins alone.
    pub(crate) const fn role(self) -> OperatorRole {
        match self {
            Self::Operator(role) => role,
            Self::None | Self::Optional | Self::EnrollmentToken | Self::Agent => OperatorRole::Admin,
        }
    }
}

/// A value outside the body.
pub(crate) struct Parameter {
    pub(crate) place: Place,
    pub(crate) name: &'static str,
    pub(crate) is_required: bool,
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
    pub(crate) about: &'static str,
    pub(crate) example: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Path,
    Query,
    Header,
}

/// What a request's body is.
pub(crate) struct Body {
    pub(crate) media: &'static [&'static str],
    pub(crate) shape: BodyShape,
    pub(crate) is_required: bool,
}

pub(crate) enum BodyShape {
    /// An object, read by its members.
    Members(&'static [Member]),
    /// A type that serde reads.
    Type(fn(&mut SchemaGenerator) -> Schema),
    /// Bytes.
    Bytes,
}

/// One kind of success.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) about: &'static str,
    /// No body if there is none.
    pub(crate) media: Vec<&'static str>,
    /// More than one: it has one of these shapes.
    pub(crate) schemas: Vec<fn(&mut SchemaGenerator) -> Schema>,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) links: Vec<Link>,
}

/// Where an answer's values are of use.
pub(crate) struct Link {
    pub(crate) name: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) parameters: &'static [(&'static str, &'static str)],
}

/// A path and a method with their description.
pub(crate) struct Described {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) operation: Operation,
}

impl Operation {
    pub(crate) fn new(id: &'static str, summary: &'static str, key: KeyKind) -> Self {
        let mut failures = vec![Family::Listener];
        match key {
            KeyKind::None | KeyKind::Optional => {}
            KeyKind::EnrollmentToken => {
                failures.extend([Family::Key, Family::EnrollmentToken, Family::Service])
            }
            KeyKind::Agent => failures.extend([Family::Key, Family::AgentKey, Family::Service]),
            KeyKind::Operator(_) => failures.extend([Family::Key, Family::OperatorKey, Family::Service]),
        }
        Self {
            id,
            summary,
            key,
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            failures,
            only_reads: false,
            bare_failures: None,
        }
    }

    /// Its name in the audit log: `policyUpdate` is `policy.update`, `agentsBulkMove` would be `agents.bulk_move`.
    pub(crate) fn action(&self) -> String {
        let mut action = String::new();
        let mut between = '.';
        for letter in self.id.chars() {
            if letter.is_ascii_uppercase() {
                action.push(std::mem::replace(&mut between, '_'));
            }
            action.push(letter.to_ascii_lowercase());
        }
        action
    }

    /// A POST that changes nothing.
    pub(crate) fn reads(mut self) -> Self {
        self.only_reads = true;
        self
    }

    pub(crate) fn path(self, name: &'static str, about: &'static str) -> Self {
        self.parameter(Parameter::new::<String>(Place::Path, name, about).required())
    }

    pub(crate) fn parameters(mut self, parameters: Vec<Parameter>) -> Self {
        self.parameters.extend(parameters);
        self
    }

    pub(crate) fn parameter(mut self, parameter: Parameter) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// A JSON object with these members.
    pub(crate) fn takes(self, members: &'static [Member]) -> Self {
        self.body(Body {
            media: &[JSON],
            shape: BodyShape::Members(members),
            is_required: true,
        })
    }

    /// JSON that serde reads as a `T`. An empty body counts as `{}`.
    pub(crate) fn takes_json<T: JsonSchema>(self) -> Self {
        self.body(Body {
            media: &[JSON],
            shape: BodyShape::Type(SchemaGenerator::subschema_for::<T>),
            is_required: false,
        })
    }

    /// Bytes of this type.
    pub(crate) fn takes_bytes(self, media: &'static str) -> Self {
        self.body(Body {
            media: match media {
                OCTETS => &[OCTETS],
                PROTOBUF => &[PROTOBUF],
                _ => &[ANY_MEDIA],
            },
            shape: BodyShape::Bytes,
            is_required: true,
        })
    }

    pub(crate) fn body(mut self, body: Body) -> Self {
        self.body = Some(body);
        self.fails(&[Family::Body])
    }

    pub(crate) fn answers(mut self, answer: Answer) -> Self {
        self.answers.push(answer);
        self
    }

    pub(crate) fn fails(mut self, families: &[Family]) -> Self {
        self.failures.extend(families);
        self
    }

    pub(crate) fn with_bare_failures(mut self, media: &'static str) -> Self {
        self.bare_failures = Some(media);
        self
    }

    /// Holds what a handler made of a request against the description. Debug builds only.
    pub(crate) fn expect(&self, result: &Result<HttpResponse, ApiError>) {
        match result {
            Ok(response) => {
                let status = response.status();
                debug_assert!(
                    self.answers.iter().any(|answer| answer.status == status.as_u16()),
                    "{} answered {status}, which its description lacks",
                    self.id
                );
            }
            Err(cause) => {
                let family = Family::of(cause);
                debug_assert!(
                    self.failures.contains(&family),
                    "{} failed with {cause:?} of the family {family:?}, which its description lacks",
                    self.id
                );
            }
        }
    }

    /// The statuses of failures with the families that have them, in order.
    pub(crate) fn failure_statuses(
        &self,
        audience: Audience,
    ) -> std::collections::BTreeMap<u16, Vec<Family>> {
        let mut statuses = std::collections::BTreeMap::<u16, Vec<Family>>::new();
        for &family in &self.failures {
            for &status in family.statuses(audience) {
                let families = statuses.entry(status).or_default();
                if !families.contains(&family) {
                    families.push(family);
                }
            }
        }
        statuses
    }
}

impl Parameter {
    pub(crate) fn new<T: JsonSchema>(place: Place, name: &'static str, about: &'static str) -> Self {
        Self {
            place,
            name,
            is_required: false,
            schema: SchemaGenerator::subschema_for::<T>,
            about,
            example: None,
        }
    }

    pub(crate) fn query<T: JsonSchema>(name: &'static str, about: &'static str) -> Self {
        Self::new::<T>(Place::Query, name, about)
    }

    pub(crate) fn header(name: &'static str, about: &'static str) -> Self {
        Self::new::<String>(Place::Header, name, about)
    }

    pub(crate) fn with_schema(mut self, schema: fn(&mut SchemaGenerator) -> Schema) -> Self {
        self.schema = schema;
        self
    }

    pub(crate) fn required(mut self) -> Self {
        self.is_required = true;
        self
    }

    pub(crate) fn like(mut self, example: &'static str) -> Self {
        self.example = Some(example);
        self
    }
}

impl Answer {
    pub(crate) fn json<T: JsonSchema>(status: u16, about: &'static str) -> Self {
        let mut answer = Self::empty(status, about);
        answer.media = vec![JSON];
        answer.or::<T>()
    }

    pub(crate) fn of(status: u16, media: &'static str, about: &'static str) -> Self {
        let mut answer = Self::empty(status, about);
        answer.media = vec![media];
        answer
    }

    pub(crate) fn empty(status: u16, about: &'static str) -> Self {
        Self {
            status,
            about,
            media: Vec::new(),
            schemas: Vec::new(),
            headers: Vec::new(),
            links: Vec::new(),
        }
    }

    /// JSON of a shape that no type tells.
    pub(crate) fn shaped(
        status: u16,
        about: &'static str,
        schema: fn(&mut SchemaGenerator) -> Schema,
    ) -> Self {
        let mut answer = Self::empty(status, about);
        answer.media = vec![JSON];
        answer.schemas.push(schema);
        answer
    }

    /// It may be of this type, too.
    pub(crate) fn or_media(mut self, media: &'static str) -> Self {
        self.media.push(media);
        self
    }

    /// It may have this shape, too.
    pub(crate) fn or<T: JsonSchema>(mut self) -> Self {
        self.schemas.push(SchemaGenerator::subschema_for::<T>);
        self
    }

    pub(crate) fn header(mut self, name: &'static str, about: &'static str) -> Self {
        self.headers.push((name, about));
        self
    }

    pub(crate) fn link(
        mut self,
        name: &'static str,
        operation: &'static str,
        parameters: &'static [(&'static str, &'static str)],
    ) -> Self {
        self.links.push(Link {
            name,
            operation,
            parameters,
        });
        self
    }
}

pub(crate) const JSON: &str = "application/json";
pub(crate) const TEXT: &str = "text/plain";
pub(crate) const OCTETS: &str = "application/octet-stream";
pub(crate) const PROTOBUF: &str = "application/x-protobuf";
pub(crate) const YAML: &str = "application/yaml";
pub(crate) const ANY_MEDIA: &str = "*/*";
