//! `/metrics`: what the crates measure through the facade, for Prometheus.

use std::time::Duration;

use anyhow::{Context, anyhow};
use metrics::Unit;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use oidc_proxy::{METRICS, Metric, MetricKind};

use crate::audit;

const BUILD_INFO: &str = "oidc_proxy_build_info";

/// What is measured here, and what `kv-storage` measures without knowing of [`Metric`].
static OTHERS: &[Metric] = &[
    Metric::new(
        "kv_storage_operations_total",
        MetricKind::Counter,
        &[
            ("operation", "`get`, `put`, `compare_and_swap` and so on"),
            ("collection", "what is stored there"),
            ("outcome", "`done`, `none`, `abandoned`, or the kind of the error"),
        ],
        "operations of the storage",
    ),
    Metric::new(
        "kv_storage_operation_seconds",
        MetricKind::Histogram,
        &[("operation", "as above")],
        "time that operations of the storage took",
    ),
    Metric::new(audit::LOST, MetricKind::Counter, &[], "audit events that are in no audit log"),
    Metric::new(BUILD_INFO, MetricKind::Gauge, &[("version", "of the server")], "always 1"),
];

/// From a cached look-up to the longest call to a provider, in seconds.
const BUCKETS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// How often collected durations are put into their buckets, so that they do not pile up while
/// nobody asks.
const UPKEEP: Duration = Duration::from_secs(5);

/// The recorder of this process.
pub(crate) struct Telemetry {
    pub(crate) handle: PrometheusHandle,
}

impl Telemetry {
    /// From here on everything is recorded.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let builder = PrometheusBuilder::new().set_buckets(&BUCKETS);
        let recorder = builder.context("could not set up the metrics")?.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder)
            .map_err(|_| anyhow!("metrics are recorded already"))?;
        for metric in all() {
            match metric.kind {
                MetricKind::Counter => metrics::describe_counter!(metric.name, metric.help),
                MetricKind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
                _ => metrics::describe_histogram!(metric.name, Unit::Seconds, metric.help),
            }
        }
        metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        // A counter that is not there yet cannot be watched.
        metrics::counter!(audit::LOST).absolute(0);
        Ok(Self { handle })
    }

    /// Runs until it is dropped.
    pub(crate) async fn upkeep(handle: PrometheusHandle) {
        let mut tick = tokio::time::interval(UPKEEP);
        loop {
            tick.tick().await;
            handle.run_upkeep();
        }
    }
}

fn all() -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().chain(OTHERS)
}

/// The table in the manual.
#[cfg(test)]
fn reference() -> String {
    use std::fmt::Write;

    let mut table = "| metric | kind | labels | what |\n| --- | --- | --- | --- |\n".to_owned();
    for Metric { name, kind, labels, help, .. } in all() {
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            _ => "histogram",
        };
        let labels: Vec<_> =
            labels.iter().map(|(label, values)| format!("`{label}`: {values}")).collect();
        // Writing to a string does not fail.
        let _ = writeln!(table, "| `{name}` | {kind} | {} | {help} |", labels.join("<br>"));
    }
    table
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fs, path::Path};

    use super::*;

    #[test]
    fn the_manual_has_the_same_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md");
        let manual = fs::read_to_string(path).unwrap();
        let (_, after) = manual.split_once("<!-- metrics: begin -->\n\n").unwrap();
        let (table, _) = after.split_once("\n<!-- metrics: end -->").unwrap();
        assert!(
            table == reference(),
            "replace the table in docs/operations.md by this:\n\n{}",
            reference()
        );
    }

    #[test]
    fn names_are_unique_and_end_in_their_unit() {
        let mut names = HashSet::new();
        for metric in all() {
            assert!(names.insert(metric.name), "{}", metric.name);
            let fits = match metric.kind {
                MetricKind::Counter => metric.name.ends_with("_total"),
                MetricKind::Histogram => metric.name.ends_with("_seconds"),
                _ => !metric.name.ends_with("_total"),
            };
            assert!(fits, "{}", metric.name);
        }
    }
}
