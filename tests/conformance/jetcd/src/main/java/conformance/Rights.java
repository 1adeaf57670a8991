package conformance;

import static conformance.Suite.bytes;
import static conformance.Suite.equal;
import static conformance.Suite.get;
import static conformance.Suite.refused;

import conformance.Suite.Check;
import conformance.Suite.Env;
import io.etcd.jetcd.Auth;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.auth.Permission;
import io.etcd.jetcd.options.OptionsUtil;
import java.util.List;
import java.util.Map;

/** Users, roles and what they may do. */
final class Rights {
    private Rights() {}

    static void add(Map<String, Check> checks) {
        checks.put("users_and_roles", env -> {
            Auth auth = env.client().getAuthClient();
            get(auth.userAdd(bytes("joan"), bytes("pw")));
            refused(auth.userAdd(bytes("joan"), bytes("pw")), "user name already exists");
            get(auth.roleAdd(bytes("caller")));
            get(auth.userGrantRole(bytes("joan"), bytes("caller")));
            equal("roles", get(auth.userGet(bytes("joan"))).getRoles(), List.of("caller"));
            get(auth.roleGrantPermission(bytes("caller"), bytes("a"), bytes("b"), Permission.Type.READ));
            equal("permissions", get(auth.roleGet(bytes("caller"))).getPermissions().size(), 1);
            refused(auth.authEnable(), "root user does not exist");
            get(auth.userDelete(bytes("joan")));
            get(auth.roleDelete(bytes("caller")));
            refused(auth.userGet(bytes("joan")), "user name not found");
        });
        checks.put("permissions", Rights::permissions);
    }

    private static void permissions(Env env) throws Exception {
        Auth auth = env.client().getAuthClient();
        for (String name : List.of("root", "jane")) {
            get(auth.userAdd(bytes(name), bytes("pw")));
            get(auth.roleAdd(bytes(name)));
            get(auth.userGrantRole(bytes(name), bytes(name)));
        }
        get(auth.roleGrantPermission(bytes("jane"), env.key(""), OptionsUtil.prefixEndOf(env.key("")),
                Permission.Type.READWRITE));
        get(auth.authEnable());
        Thread.sleep(500); // until every member has applied it
        try (Client root = as(env, "root"); Client jane = as(env, "jane")) {
            try {
                refused(env.client().getKVClient().get(env.key("a")), "user name is empty");
                get(jane.getKVClient().put(env.key("a"), bytes("1")));
                refused(jane.getKVClient().put(bytes("elsewhere"), bytes("1")), "permission denied");
                refused(jane.getAuthClient().userAdd(bytes("mallory"), bytes("pw")), "permission denied");
            } finally {
                get(root.getAuthClient().authDisable());
                for (String name : List.of("root", "jane")) {
                    get(auth.userDelete(bytes(name)));
                    get(auth.roleDelete(bytes(name)));
                }
            }
        }
    }

    private static Client as(Env env, String user) {
        return Client.builder().endpoints(env.endpoints()).user(bytes(user)).password(bytes("pw")).build();
    }
}
