//! How values of the program stand in columns, alike on both engines.

use std::sync::{Mutex, PoisonError};

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::{Database, Decode, Encode, FromRow, Type};
use uuid::{ContextV7, Uuid};

use crate::clock::Timestamp;

/// Counts the ids of one millisecond.
static IDS: Mutex<ContextV7> = Mutex::new(ContextV7::new());

/// A new `UUIDv7` of the moment `now`. The ids of a process sort in the order in which they were made (RFC 9562,
/// 6.2), also within a millisecond or when the clock goes back.
#[must_use]
pub fn new_id(now: Timestamp) -> Uuid {
    let millis = u64::try_from(now.as_millis()).unwrap_or(0);
    let nanos = u32::try_from(millis % 1000).unwrap_or(0) * 1_000_000;
    let ids = IDS.lock().unwrap_or_else(PoisonError::into_inner);
    Uuid::new_v7(uuid::Timestamp::from_unix(&*ids, millis / 1000, nanos))
}

/// Nothing but the id of a row.
#[derive(FromRow)]
pub(super) struct RowId {
    #[sqlx(try_from = "String")]
    pub(super) id: Uuid,
}

/// BIGINT: milliseconds since the Unix epoch.
impl<DB: Database> Type<DB> for Timestamp
where
    i64: Type<DB>,
{
    fn type_info() -> DB::TypeInfo {
        <i64 as Type<DB>>::type_info()
    }

    fn compatible(ty: &DB::TypeInfo) -> bool {
        <i64 as Type<DB>>::compatible(ty)
    }
}

impl<'q, DB: Database> Encode<'q, DB> for Timestamp
where
    i64: Encode<'q, DB>,
{
    fn encode_by_ref(&self, buf: &mut DB::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        self.as_millis().encode_by_ref(buf)
    }
}

impl<'r, DB: Database> Decode<'r, DB> for Timestamp
where
    i64: Decode<'r, DB>,
{
    fn decode(value: DB::ValueRef<'r>) -> Result<Self, BoxDynError> {
        <i64 as Decode<'r, DB>>::decode(value).map(Self::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_of_version_7_that_sort_by_time() {
        let older = new_id(Timestamp::from_millis(1_700_000_000_123));
        let newer = new_id(Timestamp::from_millis(1_700_000_000_124));
        assert_eq!(older.get_version_num(), 7);
        assert!(older.to_string() < newer.to_string());
        let at_once: Vec<String> = (0..1000)
            .map(|_| new_id(Timestamp::from_millis(1_700_000_000_125)).to_string())
            .collect();
        assert!(at_once.is_sorted_by(|a, b| a < b));
    }
}
