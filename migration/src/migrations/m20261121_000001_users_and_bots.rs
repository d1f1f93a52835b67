//! People and their bots. Users come first: a bot may belong to one.

use super::Migration;
use crate::model::{Column, ForeignKey, Index, OnDelete, Step, Table};

pub(super) fn migration() -> Migration {
    Migration::new(
        "m20261121_000001_users_and_bots",
        vec![Step::CreateTable(users()), Step::CreateTable(bots())],
    )
}

fn users() -> Table {
    Table::new("users")
        .column(Column::uuid("id"))
        .column(Column::text("email"))
        .column(Column::text("email_lc"))
        .column(Column::text("role").one_of(&["admin", "user"]))
        .column(Column::timestamp("created_at"))
        .column(Column::timestamp("updated_at"))
        .unique(&["email_lc"])
        .index(Index::on(&["role", "created_at", "id"]).named("idx_users_role"))
        .index(Index::on(&["created_at", "id"]).named("idx_users_created_at"))
}

fn bots() -> Table {
    Table::new("bots")
        .column(Column::uuid("id"))
        .column(Column::text("slug"))
        .column(Column::text("name"))
        .column(Column::text("description").default_text(""))
        .column(
            Column::text("status")
                .default_text("active")
                .one_of(&["active", "disabled", "archived"]),
        )
        .column(Column::text("category").default_text("assistant").one_of(&[
            "assistant",
            "creative",
            "research",
            "utility",
        ]))
        .column(Column::json("tags").default_json("[]"))
        .column(Column::uuid("user_id").nullable())
        .column(Column::integer("conversation_count").default_integer(0))
        .column(Column::integer("total_tokens_used").default_integer(0))
        .column(Column::integer("version_count").default_integer(0))
        .column(Column::timestamp("created_at"))
        .column(Column::timestamp("updated_at"))
        .column(Column::timestamp("last_active_at").nullable())
        .foreign_key(ForeignKey::new("user_id", "users", OnDelete::SetNull))
        .unique(&["slug"])
        // Each filter's index ends in the list's default order, so that a filtered page is read off the index.
        .index(Index::on(&["status", "created_at", "id"]).named("idx_bots_status"))
        .index(Index::on(&["category", "created_at", "id"]).named("idx_bots_category"))
        .index(Index::on(&["user_id", "created_at", "id"]).named("idx_bots_user_id"))
        .index(Index::on(&["created_at", "id"]).named("idx_bots_created_at"))
        .index(Index::on(&["updated_at", "id"]).named("idx_bots_updated_at"))
        .index(Index::on(&["name", "id"]).named("idx_bots_name"))
}
