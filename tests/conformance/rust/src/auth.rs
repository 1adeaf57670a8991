//! Users, roles, permissions. The last of them turns authentication on and off.

use crate::{Env, Outcome, equal, refused};
use etcd_client::{Client, ConnectOptions, Permission, PermissionType, Txn, TxnOp};
use std::time::Duration;

pub async fn users_and_roles(mut env: Env) -> Outcome {
    let client = &mut env.client;
    client.user_add("ruth", "pw", None).await?;
    refused(client.user_add("ruth", "pw", None).await, "user name already exists")?;
    client.role_add("guest").await?;
    refused(client.role_add("guest").await, "role name already exists")?;
    client.role_grant_permission("guest", Permission::read("a").with_prefix()).await?;
    client.user_grant_role("ruth", "guest").await?;
    equal("roles", client.user_get("ruth").await?.roles().to_vec(), vec!["guest".to_owned()])?;
    let permissions = client.role_get("guest").await?.permissions();
    equal("permission", permissions[0].get_type(), i32::from(PermissionType::Read))?;
    refused(client.user_grant_role("nobody", "guest").await, "user name not found")?;
    refused(client.auth_enable().await, "root user does not exist")?;
    client.role_delete("guest").await?;
    client.user_delete("ruth").await?;
    refused(client.user_get("ruth").await, "user name not found")
}

pub async fn permissions(mut env: Env) -> Outcome {
    for user in ["root", "rita"] {
        env.client.user_add(user, "pw", None).await?;
        env.client.role_add(user).await?;
        env.client.user_grant_role(user, user).await?;
    }
    env.client
        .role_grant_permission("rita", Permission::read_write(env.prefix.as_str()).with_prefix())
        .await?;
    env.client.auth_enable().await?;
    tokio::time::sleep(Duration::from_millis(500)).await; // until every member has applied it
    let outcome = as_rita(&mut env).await;
    let mut root =
        Client::connect(&env.endpoints, Some(ConnectOptions::new().with_user("root", "pw"))).await?;
    root.auth_disable().await?;
    for user in ["root", "rita"] {
        root.user_delete(user).await?;
        root.role_delete(user).await?;
    }
    outcome
}

async fn as_rita(env: &mut Env) -> Outcome {
    refused(env.client.get(env.key("a"), None).await, "user name is empty")?;
    let wrong = ConnectOptions::new().with_user("rita", "wrong");
    refused(
        Client::connect(&env.endpoints, Some(wrong)).await,
        "authentication failed, invalid user ID or password",
    )?;
    let mut rita =
        Client::connect(&env.endpoints, Some(ConnectOptions::new().with_user("rita", "pw"))).await?;
    rita.put(env.key("a"), "1", None).await?;
    refused(rita.put("elsewhere", "1", None).await, "permission denied")?;
    let hidden = Txn::new().and_then([TxnOp::txn(Txn::new().and_then([TxnOp::get("elsewhere", None)]))]);
    refused(rita.txn(hidden).await, "permission denied")?;
    refused(rita.user_add("mallory", "pw", None).await, "permission denied")
}
