//! Every bound of the state in one place, with the relations between them proven at compile time.

/// Bytes in a key or a znode's path.
pub const KEY_BYTES_MAX: usize = 16 * 1024;
/// Bytes in a value. etcd's default request limit is 1.5 MiB; a value may be all of it.
pub const VALUE_BYTES_MAX: usize = 1536 * 1024;
/// Bytes in a znode's access list.
pub const ACL_BYTES_MAX: usize = 64 * 1024;
/// Longest time to live of a znode, in milliseconds: ZooKeeper's 40 bits.
pub const TTL_MS_MAX: u64 = (1 << 40) - 1;
/// Bytes in one proposal, as the log stores it.
pub const PROPOSAL_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Operations and comparisons in one transaction, nested ones included.
pub const TXN_OPS_MAX: usize = 1024;
/// How deep transactions may be nested.
pub const TXN_DEPTH_MAX: usize = 8;
/// Bytes that one read gathers unless a smaller budget is asked for.
pub const RANGE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Records that one delete by range may remove; above it the caller must page.
pub const DELETE_RANGE_KEYS_MAX: usize = 1_000_000;
/// Unacknowledged writes that a session's window holds.
pub const WINDOW: u64 = 4096;
/// Bytes of a remembered outcome; results above it are left out of the memory.
pub const OUTCOME_BYTES_MAX: usize = 1024;
/// Milliseconds for which the outcomes of an ended session are kept.
pub const OUTCOME_RETENTION_MS: u64 = 15 * 60 * 1000;
/// Longest retention of an idempotency key, in milliseconds.
pub const IDEMPOTENCY_RETENTION_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// Bytes in an idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;
/// Shortest session timeout, in milliseconds.
pub const SESSION_TIMEOUT_MS_MIN: u64 = 500;
/// Longest session timeout, in milliseconds: the 9,000,000,000 seconds that etcd allows a lease.
pub const SESSION_TIMEOUT_MS_MAX: u64 = 9_000_000_000 * 1000;
/// Guards on one proposal.
pub const GUARDS_MAX: usize = 64;
/// Sessions named by one touch or expiry entry.
pub const SESSIONS_PER_ENTRY_MAX: usize = 4096;
/// Remembered outcomes purged by one entry, so that no entry is slow.
pub const PURGES_PER_ENTRY_MAX: usize = 256;
/// Bytes of a key that a remembered refusal keeps; longer ones are cut, as they only inform.
pub const OUTCOME_KEY_BYTES_MAX: usize = 256;
/// Bytes in the name of who opened a session.
pub const PRINCIPAL_BYTES_MAX: usize = 1024;
/// Bytes in the name of a user or a role.
pub const AUTH_NAME_BYTES_MAX: usize = 1024;
/// Bytes in the hash of a password, and in the secret of tokens.
pub const AUTH_SECRET_BYTES_MAX: usize = 1024;
/// Permissions of one role.
pub const ROLE_PERMISSIONS_MAX: usize = 10_000;
/// Roles of one user.
pub const USER_ROLES_MAX: usize = 1_000;
/// Bytes that describe one member.
pub const MEMBER_BYTES_MAX: usize = 16 * 1024;
/// The state's digest is remembered at each index that is a multiple of this.
pub const DIGEST_EVERY: u64 = 1024;
/// Digests remembered.
pub const DIGESTS_KEPT: usize = 16;
/// How far the revision jumps when a saved state founds a new cluster: more than the old cluster can
/// have gone on since.
pub const REVISION_JUMP: u64 = 1_000_000_000;
/// Bytes in the name of a coordination object.
pub const OBJECT_NAME_BYTES_MAX: usize = 1024;
/// Bytes of metadata that a hold or a candidate carries.
pub const METADATA_BYTES_MAX: usize = 4096;
/// Bytes in each text of a request for revocation.
pub const OBJECT_TEXT_BYTES_MAX: usize = 1024;
/// Locks acquired at once.
pub const ACQUIRE_PARTS_MAX: usize = 64;
/// Holders of one object; more wait. A read/write lock's capacity, so part of the state's format.
pub const HOLDERS_MAX: u64 = 4096;
/// Claims that wait for one object; more are refused.
pub const WAITERS_MAX: u64 = 16 * 1024;
/// Largest capacity of a semaphore.
pub const CAPACITY_MAX: u64 = u32::MAX as u64;
/// Longest lock-delay, in milliseconds: an hour.
pub const LOCK_DELAY_MS_MAX: u64 = 60 * 60 * 1000;
/// Withheld holds that one entry lets go, so that no entry is slow.
pub const ELAPSED_PER_ENTRY_MAX: usize = 256;
/// Edges of a wait-for graph in one answer.
pub const WAITS_MAX: usize = 10_000;
/// Shards of one pool.
pub const POOL_SHARDS_MAX: u32 = 16 * 1024;
/// Members of one pool, those that are away included.
pub const POOL_MEMBERS_MAX: usize = 1024;
/// Further copies of one shard.
pub const SECONDARIES_MAX: u32 = 8;
/// Bytes in a shard's name.
pub const SHARD_NAME_BYTES_MAX: usize = 128;
/// Longest reassign-delay and longest time for one phase of a planned move, in milliseconds: a day.
pub const POOL_DELAY_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// Longest pause of a pool, in milliseconds: a week.
pub const POOL_PAUSE_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;
/// Steps of one plan, and shards named by one operation of a pool.
pub const POOL_STEPS_MAX: usize = 1024;
/// What is due and let go by one entry in all pools together, so that no entry is slow.
pub const POOL_ELAPSED_PER_ENTRY_MAX: usize = 256;

const _: () = assert!(VALUE_BYTES_MAX + KEY_BYTES_MAX + ACL_BYTES_MAX < PROPOSAL_BYTES_MAX);
const _: () = assert!(AUTH_NAME_BYTES_MAX <= PRINCIPAL_BYTES_MAX);
// Deadlines are kept in microseconds, and nine eighths of a timeout are added to the time since start.
const _: () = assert!(SESSION_TIMEOUT_MS_MAX < i64::MAX as u64 / 4_000);
const _: () = assert!(SESSION_TIMEOUT_MS_MIN < SESSION_TIMEOUT_MS_MAX);
const _: () =
    assert!(ACQUIRE_PARTS_MAX * (OBJECT_NAME_BYTES_MAX + 64) + METADATA_BYTES_MAX < PROPOSAL_BYTES_MAX);
const _: () = assert!(OBJECT_NAME_BYTES_MAX < KEY_BYTES_MAX && HOLDERS_MAX < CAPACITY_MAX);
