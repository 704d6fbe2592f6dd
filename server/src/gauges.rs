//! What the rooms say of themselves, read when the metrics page is made.

use chancery_enclave::{Enclave, Figures};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use crate::telemetry::Metrics;

struct Rooms(Enclave);

impl std::fmt::Debug for Rooms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rooms")
    }
}

impl Collector for Rooms {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Figures {
            log,
            disk_free_bytes,
            hsm_restarts,
            hsm_quarantined_keys,
            party_bans,
            timestamps,
            webhooks,
        } = self.0.figures();
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        for (name, help, value) in [
            ("log_entries", "Entries committed to the log", log.size),
            ("log_signed", "Entries under the newest signed checkpoint", log.signed),
            ("disk_free_bytes", "Room on the fuller of the disks of store and log", disk_free_bytes),
            ("hsm_restarts", "HSM workers that were lost since the start", hsm_restarts),
            ("hsm_quarantined_keys", "Keys that the token answered wrongly with", hsm_quarantined_keys),
            ("party_bans", "Parties that are banned from keys", party_bans),
            (
                "log_cosigned",
                "Entries under the newest checkpoint with the cosignatures asked for",
                log.cosigned,
            ),
            ("log_published", "Entries under the newest remembered head on disk", log.published),
            ("log_timestamped", "Entries under the newest timestamped checkpoint", timestamps.covered),
            ("timestamps", "Timestamps kept beside the log", timestamps.kept),
            (
                "timestamp_newest_seconds",
                "The time of the newest timestamp, in seconds since 1970",
                timestamps.newest_ms.unsigned_abs() / 1_000,
            ),
            (
                "webhook_entries_behind",
                "Entries that the webhook furthest behind was not told of yet",
                webhooks.behind,
            ),
            ("webhooks_failing", "Webhooks that did not take what they were last told", webhooks.failing),
            (
                "timestamps_failing",
                "Authorities that gave no timestamp when they were last asked",
                timestamps.failing,
            ),
        ] {
            let gauge = ConstGauge::new(number(value));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        for part in self.0.components() {
            let gauge = ConstGauge::new(i64::from(part.ready));
            let name = format!("{}_ready", part.name);
            let help = "1 where this part serves";
            gauge.encode(encoder.encode_descriptor(&name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

/// Adds the rooms' gauges to the page.
pub(crate) fn register(metrics: &Metrics, enclave: &Enclave) {
    metrics.register(|registry| registry.register_collector(Box::new(Rooms(enclave.clone()))));
}
