//! Query parameters: unknown names are refused, so that a misspelt filter does not show everything.

use std::collections::{HashMap, hash_map::Entry};

use actix_web::web;
use fleet::{PagePosition, PageRequest, PageStart};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::{
    error::ApiError,
    operation::{Parameter, Place},
};

/// The parameters of a request.
#[derive(Debug)]
pub(super) struct Query(HashMap<String, String>);

/// Items of a page without `perPage`.
const PER_PAGE: u32 = 20;

impl Query {
    /// Reads the parameters, all of which must be among `known`.
    pub(super) fn read(text: &str, known: &[&str]) -> Result<Self, ApiError> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(text)
            .map_err(|_| ApiError::Invalid("the query cannot be read: expected name=value pairs".into()))?
            .into_inner();
        let mut map = HashMap::with_capacity(pairs.len());
        for (name, value) in pairs {
            let reason = if known.is_empty() {
                format!("parameter {name} is not known: this path takes none")
            } else if !known.contains(&name.as_str()) {
                format!("parameter {name} is not known: use {}", known.join(", "))
            } else {
                match map.entry(name) {
                    Entry::Vacant(free) => {
                        free.insert(value);
                        continue;
                    }
                    Entry::Occupied(taken) => format!("parameter {} is given more than once", taken.key()),
                }
            };
            return Err(ApiError::Invalid(reason.into()));
        }
        Ok(Self(map))
    }

    /// Refuses every parameter: for routes that take none.
    pub(super) fn none(text: &str) -> Result<(), ApiError> {
        Self::read(text, &[]).map(drop)
    }

    /// Refuses a parameter of Kibana's that is on and has no effect here.
    pub(super) fn must_be_off(&self, name: &str, instead: &str) -> Result<(), ApiError> {
        if self.flag(name)? {
            let reason = format!("{name} is not supported: {instead}");
            return Err(ApiError::Invalid(reason.into()));
        }
        Ok(())
    }

    /// The text of a parameter; `None` if it is absent or empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    }

    /// A boolean parameter; absent counts as false, empty as true.
    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.0.get(name).map(String::as_str) {
            None | Some("false") => Ok(false),
            Some("true" | "") => Ok(true),
            Some(_) => Err(ApiError::Invalid(
                format!("parameter {name} must be true or false").into(),
            )),
        }
    }

    fn number(&self, name: &str, default: u32, max: u32) -> Result<u32, ApiError> {
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        match text.parse::<u32>() {
            Ok(number) if (1..=max).contains(&number) => Ok(number),
            _ => Err(ApiError::Invalid(
                format!("parameter {name} must be a number from 1 to {max}").into(),
            )),
        }
    }

    /// The requested page: by number, or the one after the page that `searchAfter` came with.
    pub(super) fn page(&self) -> Result<Paging, ApiError> {
        let paging = Paging {
            page: self.number("page", 1, u32::MAX)?,
            per_page: self.number("perPage", PER_PAGE, PageRequest::WINDOW)?,
            after: self.text("searchAfter").map(PagePosition::from),
        };
        if paging.after.is_some() {
            return match paging.page {
                1 => Ok(paging),
                _ => Err(ApiError::Invalid("give page or searchAfter, not both".into())),
            };
        }
        if paging.skipped() + u64::from(paging.per_page) > u64::from(PageRequest::WINDOW) {
            return Err(ApiError::Invalid(
                format!(
                    "page and perPage reach the first {} items: beyond, give searchAfter the nextSearchAfter of the \
                     page before",
                    PageRequest::WINDOW
                )
                .into(),
            ));
        }
        Ok(paging)
    }
}

/// Parameters as they are described; what each may be follows from its name.
pub(super) fn described(names: &[&'static str]) -> Vec<Parameter> {
    let shape = |name| -> fn(&mut SchemaGenerator) -> Schema {
        match name {
            "page" | "perPage" => |_| json_schema!({ "type": "integer", "minimum": 1, "maximum": 10_000 }),
            "sortOrder" => |_| json_schema!({ "type": "string", "enum": ["asc", "desc"] }),
            "full" | "noAgentCount" | "showInactive" | "getStatusSummary" | "showUpgradeable"
            | "withMetrics" | "forceDelete" | "sys_monitoring" => |_| json_schema!({ "type": "boolean" }),
            _ => |_| json_schema!({ "type": "string" }),
        }
    };
    names
        .iter()
        .map(|name| Parameter::new::<String>(Place::Query, name, "").with_schema(shape(name)))
        .collect()
}

/// A page as Kibana counts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Paging {
    /// From 1.
    page: u32,
    /// Items of a page.
    per_page: u32,
    /// Position to continue from, in place of a page number.
    after: Option<PagePosition>,
}

impl Paging {
    fn skipped(&self) -> u64 {
        u64::from(self.page.saturating_sub(1)) * u64::from(self.per_page)
    }

    /// The same page as the store counts it: an offset or a position.
    pub(super) fn request(&self) -> PageRequest {
        PageRequest {
            from: match &self.after {
                Some(position) => PageStart::After(position.clone()),
                None => PageStart::Offset(self.skipped()),
            },
            limit: self.per_page,
        }
    }

    /// A list in Kibana's envelope.
    pub(super) fn envelope<T, U>(&self, page: fleet::Page<T>, each: impl FnMut(T) -> U) -> Many<U> {
        Many {
            items: page.items.into_iter().map(each).collect(),
            total: page.total.count(),
            page: u64::from(self.page),
            per_page: self.per_page,
            next_search_after: page.next.map(|position| position.as_str().to_owned()),
        }
    }
}

/// A list in Kibana's envelope.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "List{T}")]
pub(super) struct Many<T> {
    items: Vec<T>,
    total: u64,
    page: u64,
    per_page: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_search_after: Option<String>,
}

/// The parameters that [`Query::page`] reads.
pub(super) const PAGING: [&str; 3] = ["page", "perPage", "searchAfter"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_count_from_one() {
        let request = |text: &str| {
            Query::read(text, &PAGING)
                .unwrap()
                .page()
                .map(|page| page.request())
        };
        let counted = |offset, limit| PageRequest {
            from: PageStart::Offset(offset),
            limit,
        };
        assert_eq!(request("page=3&perPage=50").unwrap(), counted(100, 50));
        assert_eq!(request("").unwrap(), PageRequest::first(20));
        assert_eq!(request("page=1000&perPage=10").unwrap(), counted(9990, 10));
        assert_eq!(request("perPage=10000").unwrap(), counted(0, 10_000));
        let after = PageRequest {
            from: PageStart::After("[1,\"a\"]".into()),
            limit: 7,
        };
        assert_eq!(request("searchAfter=%5B1%2C%22a%22%5D&perPage=7").unwrap(), after);
        for bad in [
            "page=0",
            "perPage=0",
            "perPage=10001",
            "page=x",
            "page=-1",
            "page=2&searchAfter=x",
            "page=1001&perPage=10",
            "page=4294967295&perPage=10000",
        ] {
            assert!(request(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_misspelt_parameter_is_refused() {
        assert!(Query::read("polcy=x", &["policy"]).is_err());
        assert!(Query::read("policy=x&policy=y", &["policy"]).is_err());
        assert!(Query::none("policy=x").is_err() && Query::none("").is_ok());
        let query = Query::read("a=true&b=&c=%20x", &["a", "b", "c"]).unwrap();
        assert!(query.flag("a").unwrap() && query.flag("b").unwrap() && !query.flag("d").unwrap());
        assert!(query.flag("c").is_err());
        assert_eq!((query.text("b"), query.text("c")), (None, Some(" x")));
    }
}
