//! What a Redis says of itself, for an operator who wants to know before he relies on it.

use redis::Value;

use super::{Failure, Link};

impl Link {
    /// What each node does when its memory is full (`maxmemory_policy` of `INFO memory`).
    pub async fn eviction_policies(&self) -> Result<Vec<String>, Failure> {
        let mut call = redis::cmd("INFO");
        call.arg("memory");
        let mut policies = Vec::new();
        for node in self.nodes(&call).await? {
            let answer = self.send_to(node.as_ref(), call.clone()).await?;
            policies.extend(policy(&answer));
        }
        Ok(policies)
    }
}

fn policy(answer: &Value) -> Option<String> {
    let info = match answer {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?,
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => text,
        _ => return None,
    };
    let mut lines = info.lines();
    lines.find_map(|line| {
        line.strip_prefix("maxmemory_policy:")
            .map(|policy| policy.trim().to_owned())
    })
}
