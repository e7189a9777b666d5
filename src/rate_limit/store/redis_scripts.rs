//! The scripts, each of which decides or changes something in one step.

/// A script and the name by which Redis knows it.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) text: &'static str,
    pub(super) sha: String,
}

#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) take: Script,
    pub(super) peek: Script,
    pub(super) void: Script,
    pub(super) merge: Script,
    pub(super) merge_exact: Script,
    pub(super) refund: Script,
    pub(super) clear: Script,
    pub(super) announce: Script,
    pub(super) reset: Script,
    pub(super) read: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let script = |text| Script {
            text,
            sha: redis::Script::new(text).get_hash().to_owned(),
        };
        Self {
            take: script(include_str!("take.lua")),
            peek: script(include_str!("peek.lua")),
            void: script(include_str!("void.lua")),
            merge: script(include_str!("merge.lua")),
            merge_exact: script(include_str!("merge_exact.lua")),
            refund: script(include_str!("refund.lua")),
            clear: script(include_str!("clear.lua")),
            announce: script(include_str!("announce.lua")),
            reset: script(include_str!("reset.lua")),
            read: script(include_str!("read.lua")),
        }
    }
}
