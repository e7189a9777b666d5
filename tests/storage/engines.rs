//! What most tests put into a database.

use stile::storage::{self, Database, NewUser, UserRole};
use uuid::Uuid;

pub use crate::databases::*;

/// Adds an ordinary user and returns his id.
pub async fn add_user(database: &Database, email: &str) -> Uuid {
    let id = storage::new_id(at(0));
    let user = new_user(id, email);
    assert!(
        storage::add_user(&mut database.write().await.unwrap(), &user)
            .await
            .unwrap()
    );
    id
}

/// An ordinary user.
pub fn new_user(id: Uuid, email: &str) -> NewUser<'_> {
    NewUser {
        id,
        email,
        full_name: Some("Ada"),
        password_hash: "hash-1",
        role: UserRole::User,
        is_verified: false,
        is_pending: false,
        created_at: at(0),
    }
}
