//! The statements of the contenders that write SQL by hand: the same for all of them.

pub(crate) const USER_BY_KEY: &str =
    "SELECT id, email, email_lc, role, created_at, updated_at FROM users WHERE id = $1";
pub(crate) const USER_BY_EMAIL: &str =
    "SELECT id, email, email_lc, role, created_at, updated_at FROM users WHERE email_lc = $1";
pub(crate) const FIRST_PAGE: &str = "SELECT id, email, email_lc, role, created_at, updated_at FROM users \
     ORDER BY created_at DESC, id DESC LIMIT 50";
pub(crate) const PAGE_AFTER: &str = "SELECT id, email, email_lc, role, created_at, updated_at FROM users \
     WHERE (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT 50";
pub(crate) const ALL_USERS: &str =
    "SELECT id, email, email_lc, role, created_at, updated_at FROM users ORDER BY created_at DESC, id DESC";
pub(crate) const UPDATE_USER: &str = "UPDATE users SET role = $1, updated_at = $2 WHERE id = $3";
pub(crate) const INSERT_ENTRY: &str = "INSERT INTO memory_audit_log \
     (id, bot_id, memory_id, action, actor, details, created_at) VALUES ($1, $2, $3, 'add', $4, $5, $6)";
pub(crate) const INSERT_ENTRIES: &str = "INSERT INTO memory_audit_log \
     (id, bot_id, memory_id, action, actor, details, created_at) \
     SELECT id, bot_id, memory_id, 'add', actor, details, created_at \
     FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::jsonb[], $6::timestamptz[]) \
     AS new (id, bot_id, memory_id, actor, details, created_at)";
pub(crate) const INSERT_BOT: &str = "INSERT INTO bots \
     (id, slug, name, description, status, category, tags, user_id, conversation_count, total_tokens_used, \
      version_count, created_at, updated_at, last_active_at) \
     VALUES ($1, $2, 'New Bot', '', 'active', 'assistant', '[]', NULL, 0, 0, 0, $3, $4, NULL)";
pub(crate) const GROW_SESSION: &str = "UPDATE chat_sessions SET message_count = message_count + $1, \
     total_input_tokens = total_input_tokens + $2, total_output_tokens = total_output_tokens + $3 \
     WHERE id = $4 AND status = 'active' RETURNING message_count, bot_id";
pub(crate) const INSERT_MESSAGE: &str = "INSERT INTO chat_messages \
     (id, session_id, sequence, role, content, input_tokens, output_tokens, created_at) \
     VALUES ($1, $2, $3, 'user', $4, $5, $6, $7)";
pub(crate) const CREDIT_BOT: &str = "UPDATE bots SET total_tokens_used = total_tokens_used + $1, \
     last_active_at = $2 WHERE id = $3";
/// An append as one statement, which only Postgres has: $1 messages with $2 and $3 tokens in all, onto the session $4,
/// under the ids $5; each says $6 with $7 and $8 tokens, at $9.
pub(crate) const APPEND: &str = "WITH grown AS (UPDATE chat_sessions SET message_count = message_count + $1, \
     total_input_tokens = total_input_tokens + $2, total_output_tokens = total_output_tokens + $3 \
     WHERE id = $4 AND status = 'active' RETURNING id, bot_id, message_count), \
     credited AS (UPDATE bots SET total_tokens_used = total_tokens_used + $2 + $3, last_active_at = $9 \
     FROM grown WHERE bots.id = grown.bot_id) \
     INSERT INTO chat_messages (id, session_id, sequence, role, content, input_tokens, output_tokens, created_at) \
     SELECT new.id, grown.id, grown.message_count - $1 + new.at, 'user', $6, $7, $8, $9 \
     FROM grown, UNNEST($5::uuid[]) WITH ORDINALITY AS new (id, at)";
/// Makes every claimed run pending again.
pub(crate) const RELEASE_RUNS: &str = "UPDATE workflow_runs SET status = 'pending', lease_owner = NULL, \
     lease_expires_at = NULL WHERE status = 'running'";

/// The columns of a run, in the order in which they are decoded.
const RUN: &str = "id, workflow_id, workflow_name, status, trigger_type, trigger_payload, context, started_at, \
     completed_at, error, concurrency_key, lease_owner, lease_expires_at, lease_epoch";

/// The statements that claim runs as the store does: first those whose lease has run out ($4 is now), then pending ones.
/// $1 is the worker, $2 the end of the lease, $3 how many.
pub(crate) fn claims(lock: bool) -> [String; 2] {
    let claim = |waiting: &str, order: &str, lock: &str, still: &str| {
        format!(
            "WITH picked AS (SELECT id FROM workflow_runs WHERE {waiting} ORDER BY {order}, id LIMIT $3 {lock}) \
             UPDATE workflow_runs SET status = 'running', lease_owner = $1, lease_expires_at = $2, \
             lease_epoch = lease_epoch + 1 WHERE id IN (SELECT id FROM picked) AND {still} RETURNING {RUN}"
        )
    };
    let lock = |clause| if lock { clause } else { "" };
    // The cast keeps SQLite from reading every pending run once more; see the store's own statement.
    [
        claim(
            "status = 'running' AND lease_expires_at <= $4",
            "lease_expires_at",
            lock("FOR NO KEY UPDATE"),
            "CAST(status AS text) = 'running' AND lease_expires_at <= $4",
        ),
        claim(
            "status = 'pending'",
            "started_at",
            lock("FOR NO KEY UPDATE SKIP LOCKED"),
            "CAST(status AS text) = 'pending'",
        ),
    ]
}
