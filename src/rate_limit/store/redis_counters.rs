//! All counters of a Redis, and their reset by an operator. Walks the keys with `SCAN`, which holds nobody up.

use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo};
use redis::{Cmd, Value};

use super::{Connection, Failure, Link, int, reset, text};
use crate::rate_limit::charge::Subject;
use crate::rate_limit::key::CounterKey;
use crate::rate_limit::rule::Rules;
use crate::rate_limit::store::Reading;

/// Keys that a node looks at before it answers a step of the walk.
const STEP: u32 = 1000;

impl Link {
    /// The counters whose keys match `pattern` (behind the prefix, as `SCAN` understands it), on every node.
    pub async fn counters(&self, pattern: &str) -> Result<Vec<CounterKey>, Failure> {
        let prefix = &self.0.names.prefix;
        let scan = |cursor: &str| {
            let mut step = redis::cmd("SCAN");
            step.arg(cursor).arg("MATCH").arg(format!("{prefix}{pattern}"));
            step.arg("COUNT").arg(STEP);
            step
        };
        let mut names = Vec::new();
        for node in self.nodes(&scan("0")).await? {
            let mut cursor = "0".to_owned();
            loop {
                let step = self.send_to(node.as_ref(), scan(&cursor)).await?;
                let Value::Array(parts) = &step else {
                    return Err(unexpected());
                };
                let [next, Value::Array(found)] = parts.as_slice() else {
                    return Err(unexpected());
                };
                names.extend(found.iter().filter_map(text).map(str::to_owned));
                text(next).ok_or_else(unexpected)?.clone_into(&mut cursor);
                if cursor == "0" {
                    break;
                }
            }
        }
        // A walk may come by a key twice.
        names.sort_unstable();
        names.dedup();
        Ok(names
            .iter()
            .filter_map(|name| CounterKey::from_name(prefix, name))
            .collect())
    }

    /// Where a walk has to go: the one server, or each master of the cluster.
    pub(super) async fn nodes(&self, first: &Cmd) -> Result<Vec<Option<SingleNodeRoutingInfo>>, Failure> {
        let Connection::Cluster(cluster) = &self.0.connection else {
            return Ok(vec![None]);
        };
        let everywhere = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let answers = cluster.clone().route_command(first.clone(), everywhere).await?;
        let Value::Map(answers) = answers else {
            return Err(unexpected());
        };
        let address = |node: &Value| {
            let (host, port) = text(node)?.rsplit_once(':')?;
            Some(SingleNodeRoutingInfo::ByAddress {
                host: host.to_owned(),
                port: port.parse().ok()?,
            })
        };
        answers
            .iter()
            .map(|(node, _)| address(node).map(Some).ok_or_else(unexpected))
            .collect()
    }

    pub(super) async fn send_to(
        &self,
        node: Option<&SingleNodeRoutingInfo>,
        call: Cmd,
    ) -> Result<Value, Failure> {
        let (Some(node), Connection::Cluster(cluster)) = (node, &self.0.connection) else {
            return Ok(self.0.send(&call).await?);
        };
        let value = cluster
            .clone()
            .route_command(call, RoutingInfo::SingleNode(node.clone()))
            .await;
        Ok(value.and_then(Value::extract_error)?)
    }

    /// What stands in a counter; `None` where it is gone, or holds something else.
    pub async fn read(&self, key: &CounterKey, rules: &Rules) -> Result<Option<Reading>, Failure> {
        let window = key.window(rules.get(key.rule()));
        let mut call = Cmd::new();
        call.arg("EVALSHA")
            .arg(&self.0.scripts.read.sha)
            .arg(1)
            .arg(key.name(&self.0.names.prefix))
            .arg(window.map_or(0, |window| u64::from(window.seconds()) * 1000));
        let value = self.0.run(call, |scripts| &scripts.read).await?;
        let Value::Array(parts) = &value else {
            return Ok(None);
        };
        let [count, resets_at] = parts.as_slice() else {
            return Err(unexpected());
        };
        Ok(int(count).zip(int(resets_at)).map(|(count, resets_at)| Reading {
            key: key.clone(),
            count: u32::try_from(count.max(0)).unwrap_or(u32::MAX),
            resets_at,
        }))
    }

    /// Drops a counter and its window: the next take opens a new one.
    pub async fn delete(&self, key: &CounterKey) -> Result<(), Failure> {
        let mut call = redis::cmd("DEL");
        call.arg(key.name(&self.0.names.prefix));
        Ok(self.0.send(&call).await.map(|_| ())?)
    }

    /// Resets by operators since `heard_us` (Unix microseconds of Redis).
    pub async fn resets(&self, heard_us: i64) -> Result<Vec<(i64, Subject)>, Failure> {
        let mut call = redis::cmd("ZRANGEBYSCORE");
        call.arg(self.resets_key())
            .arg(format!("({heard_us}"))
            .arg("+inf");
        match self.0.send(&call).await? {
            Value::Array(resets) => Ok(resets.iter().filter_map(reset).collect()),
            _ => Err(unexpected()),
        }
    }

    /// Notes for every process that `subjects` are reset.
    pub async fn note_reset(&self, subjects: &[Subject]) -> Result<(), Failure> {
        let mut call = Cmd::new();
        call.arg("EVALSHA")
            .arg(&self.0.scripts.reset.sha)
            .arg(1)
            .arg(self.resets_key());
        for subject in subjects {
            call.arg(subject.tag());
        }
        self.0.run(call, |scripts| &scripts.reset).await.map(|_| ())
    }
}

fn unexpected() -> Failure {
    Failure::Server("unexpected answer".to_owned())
}
