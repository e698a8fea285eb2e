//! The two text forms of the metrics: Prometheus 0.0.4, which everything reads, and OpenMetrics for clients that
//! accept it.
//!
//! The metrics library writes OpenMetrics only. Both forms have the same samples; they differ in how a family is
//! announced: OpenMetrics names a counter without `_total` and an info without `_info`, has units and an end.

use std::fmt;

use actix_web::http::header::{ACCEPT, HeaderMap};
use prometheus_client::{encoding::text::encode, registry::Registry};

/// A form of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exposition {
    /// Prometheus text format 0.0.4.
    Prometheus,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

impl Exposition {
    /// What the client accepts. A client that accepts both, as Prometheus does, gets `OpenMetrics`.
    pub(crate) fn accepted(headers: &HeaderMap) -> Self {
        let names_it = |value: &str| {
            value.split(',').any(|part| {
                let kind = part.split(';').next().unwrap_or_default();
                kind.trim().eq_ignore_ascii_case(OPEN_METRICS)
            })
        };
        let mut accepted = headers.get_all(ACCEPT).filter_map(|value| value.to_str().ok());
        if accepted.any(names_it) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// Value of the `Content-Type` header.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// All metrics of the registries, one after the other.
    pub(crate) fn write(self, registries: &[&Registry]) -> Result<String, fmt::Error> {
        let mut text = String::new();
        for registry in registries {
            text.truncate(text.strip_suffix(END).unwrap_or_default().len());
            encode(&mut text, registry)?;
        }
        Ok(match self {
            Self::Prometheus => prometheus(&text),
            Self::OpenMetrics => text,
        })
    }
}

/// The last line that the library writes for each registry.
const END: &str = "# EOF\n";

const OPEN_METRICS: &str = "application/openmetrics-text";

/// Announces each family by the name that its samples have.
fn prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + open_metrics.len() / 16);
    // HELP comes before TYPE, which tells the name.
    let mut help = "";
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').unwrap_or((family, "unknown"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            text.push_str(&format!(
                "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"
            ));
        } else if !line.starts_with("# UNIT ") && line != "# EOF" {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use prometheus_client::{
        metrics::{counter::Counter, gauge::Gauge, histogram::Histogram, info::Info},
        registry::Unit,
    };

    use super::*;

    fn registry() -> Registry {
        let mut registry = Registry::with_prefix("x");
        let (requests, waiting): (Counter, Gauge) = (Counter::default(), Gauge::default());
        requests.inc();
        let duration = Histogram::new([0.5]);
        duration.observe(0.25);
        registry.register("requests", "Requests", requests);
        registry.register("waiting", "Polls", waiting);
        registry.register_with_unit("duration", "Time", Unit::Seconds, duration);
        registry.register("build", "Program", Info::new(vec![("version", "1")]));
        registry
    }

    #[test]
    fn families_are_announced_by_the_name_of_their_samples() {
        let text = Exposition::Prometheus.write(&[&registry()]).unwrap();
        let expected = [
            "# HELP x_requests_total Requests.",
            "# TYPE x_requests_total counter",
            "x_requests_total 1",
            "# HELP x_waiting Polls.",
            "# TYPE x_waiting gauge",
            "x_waiting 0",
            "# HELP x_duration_seconds Time.",
            "# TYPE x_duration_seconds histogram",
            "x_duration_seconds_sum 0.25",
            "x_duration_seconds_count 1",
            "x_duration_seconds_bucket{le=\"0.5\"} 1",
            "x_duration_seconds_bucket{le=\"+Inf\"} 1",
            "# HELP x_build_info Program.",
            "# TYPE x_build_info gauge",
            "x_build_info{version=\"1\"} 1",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn open_metrics_is_for_who_asks() {
        let accepted = |value: &str| {
            let request = TestRequest::default()
                .insert_header((ACCEPT, value))
                .to_http_request();
            Exposition::accepted(request.headers())
        };
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert_eq!(accepted(prometheus), Exposition::OpenMetrics);
        for other in ["*/*", "text/plain", "", "application/openmetrics", "\u{e9}"] {
            assert_eq!(accepted(other), Exposition::Prometheus, "{other}");
        }
        let text = Exposition::OpenMetrics.write(&[&registry()]).unwrap();
        assert!(
            text.ends_with("# EOF\n") && text.contains("# TYPE x_requests counter"),
            "{text}"
        );
    }
}
