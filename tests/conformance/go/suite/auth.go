package main

import (
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Last of all: while authentication is on, no other check would get in.
var authChecks = []check{
	{"auth: users, roles and permissions", usersAndRoles},
	{"auth: who may do what", authorization},
}

func usersAndRoles(e *env) {
	c := e.client
	_, err := c.UserAdd(e, "temporary", "pw")
	e.must(err)
	_, err = c.UserAdd(e, "temporary", "pw")
	e.fails(err, rpctypes.ErrUserAlreadyExist)
	_, err = c.UserAdd(e, "", "pw")
	e.fails(err, rpctypes.ErrUserEmpty)
	_, err = c.RoleAdd(e, "visitor")
	e.must(err)
	_, err = c.RoleAdd(e, "visitor")
	e.fails(err, rpctypes.ErrRoleAlreadyExist)
	_, err = c.UserGrantRole(e, "temporary", "nobody")
	e.fails(err, rpctypes.ErrRoleNotFound)
	_, err = c.UserGrantRole(e, "temporary", "visitor")
	e.must(err)
	user, err := c.UserGet(e, "temporary")
	e.must(err)
	e.equal("roles", user.Roles, []string{"visitor"})
	_, err = c.RoleGrantPermission(e, "visitor", "a", "b", clientv3.PermissionType(clientv3.PermRead))
	e.must(err)
	role, err := c.RoleGet(e, "visitor")
	e.must(err)
	e.equal("permissions", len(role.Perm), 1)
	_, err = c.RoleRevokePermission(e, "visitor", "z", "")
	e.fails(err, rpctypes.ErrPermissionNotGranted)
	_, err = c.AuthEnable(e)
	e.fails(err, rpctypes.ErrRootUserNotExist)
	_, err = c.UserRevokeRole(e, "temporary", "visitor")
	e.must(err)
	_, err = c.RoleDelete(e, "visitor")
	e.must(err)
	_, err = c.UserDelete(e, "temporary")
	e.must(err)
	_, err = c.UserGet(e, "temporary")
	e.fails(err, rpctypes.ErrUserNotFound)
	_, err = c.Authenticate(e, "temporary", "pw")
	e.fails(err, rpctypes.ErrAuthNotEnabled)
}

func authorization(e *env) {
	c := e.client
	for _, user := range []string{"root", "alice"} {
		_, err := c.UserAdd(e, user, user+"pw")
		e.must(err)
		_, err = c.RoleAdd(e, user)
		e.must(err)
		_, err = c.UserGrantRole(e, user, user)
		e.must(err)
	}
	end := clientv3.GetPrefixRangeEnd(e.prefix)
	_, err := c.RoleGrantPermission(e, "alice", e.prefix, end, clientv3.PermissionType(clientv3.PermReadWrite))
	e.must(err)
	_, err = c.AuthEnable(e)
	e.must(err)
	time.Sleep(500 * time.Millisecond) // until every member has applied it
	root := e.as("root")
	defer root.Close()
	defer func() {
		_, err := root.AuthDisable(e)
		e.must(err)
	}()
	_, err = c.Get(e, e.prefix)
	e.fails(err, rpctypes.ErrUserEmpty)
	_, err = clientv3.New(clientv3.Config{Endpoints: e.endpoints, Username: "alice", Password: "wrong",
		DialTimeout: 2 * time.Second, Logger: zap.NewNop()})
	e.equal("a wrong password", err != nil, true)
	alice := e.as("alice")
	defer alice.Close()
	_, err = alice.Put(e, e.prefix+"a", "1")
	e.must(err)
	_, err = alice.Put(e, "elsewhere", "1")
	e.fails(err, rpctypes.ErrPermissionDenied)
	_, err = alice.Txn(e).Then(clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpGet("elsewhere")}, nil)).Commit()
	e.fails(err, rpctypes.ErrPermissionDenied)
	_, err = alice.Get(e, e.prefix, clientv3.WithFromKey())
	e.fails(err, rpctypes.ErrPermissionDenied)
	refused := <-alice.Watch(e, "elsewhere")
	e.equal("watch refused", refused.Err() != nil, true)
	allowed := alice.Watch(e, e.prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	e.equal("watch allowed", (<-allowed).Created, true)
	_, err = alice.UserAdd(e, "mallory", "pw")
	e.fails(err, rpctypes.ErrPermissionDenied)
	lease, err := root.Grant(e, 60)
	e.must(err)
	_, err = root.Put(e, "elsewhere", "1", clientv3.WithLease(lease.ID))
	e.must(err)
	_, err = alice.Revoke(e, lease.ID)
	e.fails(err, rpctypes.ErrPermissionDenied)
	_, err = root.UserChangePassword(e, "alice", "new")
	e.must(err)
	_, err = root.Revoke(e, lease.ID)
	e.must(err)
}

// as connects as a user whose password is made of its name.
func (e *env) as(user string) *clientv3.Client {
	client, err := clientv3.New(clientv3.Config{Endpoints: e.endpoints, Username: user, Password: user + "pw",
		DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	e.must(err)
	return client
}
