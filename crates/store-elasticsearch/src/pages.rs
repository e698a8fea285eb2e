//! Pages of a list in Elasticsearch's terms: an offset, or the sort values of the last item.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Cause, Page, PagePosition, PageRequest, PageStart, Result, StoreError, Total};

use crate::documents::{Found, Search};

/// The place behind an item, with the order that its values belong to.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    of: String,
    after: Vec<Value>,
}

/// The body of a search for this page: `sort` ends with a member that differs in all documents, `of` names the order.
pub(crate) fn search(request: &PageRequest, query: &Value, sort: Value, of: &str) -> Result<Value> {
    request.check()?;
    let mut body = json!({
        "query": query,
        "size": request.limit,
        "track_total_hits": true,
        "seq_no_primary_term": true,
    });
    match &request.from {
        PageStart::Offset(offset) => body["from"] = (*offset).into(),
        PageStart::After(position) => {
            let place: Place = serde_json::from_str(position.as_str()).map_err(|_| foreign())?;
            let members = sort.as_array().map_or(0, Vec::len);
            if place.of != of || place.after.len() != members {
                return Err(foreign());
            }
            body["search_after"] = place.after.into();
        }
    }
    body["sort"] = sort;
    Ok(body)
}

/// The page of what was found; a document that cannot be read is left out, and told.
pub(crate) fn page<T>(
    request: &PageRequest,
    found: Search,
    of: &str,
    read: impl Fn(&Found) -> Result<T>,
) -> Result<Page<T>> {
    let is_full = found.hits.len() >= request.limit as usize;
    let last = found.hits.last().filter(|_| is_full);
    let next = last.map(|last| position(last, of)).transpose()?;
    let items = found.hits.iter().filter_map(|hit| {
        read(hit)
            .inspect_err(|error| log::warn!("error.message":% = store::chain(error); "a document is left out of a list"))
            .ok()
    });
    Ok(Page {
        items: items.collect(),
        total: Total::Exact(found.total),
        next,
    })
}

fn position(last: &Found, of: &str) -> Result<PagePosition> {
    let place = Place {
        of: of.to_owned(),
        after: last.sort.as_array().cloned().unwrap_or_default(),
    };
    let text = serde_json::to_string(&place).map_err(|error| StoreError::Corrupt {
        detail: "sort values cannot be written as JSON".to_owned(),
        source: Some(Cause::new(error)),
    })?;
    Ok(text.into())
}

/// A position that is not of this list.
pub(crate) fn foreign() -> StoreError {
    StoreError::invalid("the position does not belong to this list, with this filter and order")
}
