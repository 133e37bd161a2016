-- One example for each name in brackets, in their order; tests load and call them, and the reference shows them.

-- [archive]
archive({ src = "app-1.4.tar.gz", dest = "/opt/app", strip = 1, owner = "app" })

-- [assert.that]
assert.that({ condition = facts.memory.total > 2 ^ 30, message = "this needs 1 GiB of memory" })

-- [certificate.csr]
certificate.csr({ path = "/etc/ssl/app.csr", key = "/etc/ssl/private/app.key", dns = { "app.example.org" } })

-- [certificate.key]
certificate.key({ path = "/etc/ssl/private/app.key", owner = "root", group = "ssl-cert", mode = "0640" })

-- [certificate.self_signed]
certificate.key("/etc/ssl/private/app.key")
certificate.self_signed({
    path = "/etc/ssl/app.pem",
    key = "/etc/ssl/private/app.key",
    common_name = "app.example.org",
    dns = { "app.example.org" },
    notify = "reload-nginx",
})

-- [cmd]
cmd({ command = "createdb app", unless = "psql -d app -c ''", user = "postgres" })
cmd({ argv = { "make", "install" }, cwd = "/usr/src/app", creates = "/usr/local/bin/app" })
cmd({ command = "npm run build", inputs = { "src/**", "package.json" }, outputs = { "dist/**" } })
local head = cmd({ command = "git rev-parse HEAD", reads_only = true }).stdout

-- [cron]
cron({ name = "backup", job = "/usr/local/bin/backup", hour = "3", minute = "15" })

-- [crypto.sha256]
local digest = crypto.sha256(template.render({ src = "app.conf.j2", vars = { port = 8080 } }))

-- [file.absent]
file.absent("/etc/nginx/sites-enabled/default")

-- [file.attributes]
file.attributes({ path = "/var/lib/app", owner = "app", mode = "0750", acl = { ["user:backup"] = "rx" } })

-- [file.block]
file.block({
    path = "/etc/ssh/sshd_config",
    name = "sftp",
    block = "Match Group sftp\n    ForceCommand internal-sftp\n",
    validate = "/usr/sbin/sshd -t -f %s",
})

-- [file.checksum]
print(file.checksum("/usr/local/bin/app").checksum)

-- [file.copy]
file.copy({ src = "motd", dest = "/etc/motd", mode = "0644" })
file.copy({ src = "site", dest = "/srv/site", owner = "www-data", purge = true })   -- a folder

-- [file.directory]
file.directory({ path = "/var/lib/app", owner = "app", mode = "0750" })

-- [file.fetch]
file.fetch({ src = "/etc/fstab", dest = "fetched/" .. this.agent .. ".fstab" })

-- [file.line]
file.line({ path = "/etc/ssh/sshd_config", regexp = "^#?PermitRootLogin ", line = "PermitRootLogin no" })
file.line({ path = "/etc/hosts.allow", line = "sshd: 10.0.0.0/8", create = true })

-- [file.link]
file.link({ path = "/opt/app/current", target = "releases/1.4" })

-- [file.replace]
file.replace({ path = "/etc/app.conf", regexp = "old\\.example\\.org", replacement = "new.example.org" })

-- [file.set_key]
file.set_key({ path = "/etc/docker/daemon.json", key = "log-opts.max-size", value = "10m", create = true })

-- [file.stat]
if file.stat("/var/run/reboot-required").exists then log.warn("it wants to be restarted") end

-- [file.template]
file.template({
    src = "site.conf.j2",
    dest = "/etc/nginx/conf.d/site.conf",
    vars = { port = values.port, host = facts.hostname },
    notify = "reload-nginx",
})

-- [file.touch]
file.touch({ path = "/var/log/app.log", owner = "app", mode = "0640" })

-- [file.write]
file.write({ dest = "/etc/sysctl.d/60-app.conf", content = "fs.inotify.max_user_watches = 524288\n" })

-- [git]
git({ repo = "https://git.example.org/app.git", dest = "/srv/app", version = "v1.4" })

-- [group]
group({ name = "deploy", members = { "ann", "bob" } })

-- [handler]
handler({ name = "reload-nginx", run = function() service.reload("nginx") end })

-- [hostname]
hostname("web1.example.org")

-- [hosts]
hosts({ ip = "10.0.0.7", name = { "db1", "db1.example.org" } })

-- [http.download]
http.download({
    url = "https://example.org/app-1.4.tar.gz",
    dest = "/usr/src/app-1.4.tar.gz",
    checksum = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
})

-- [http.request]
local health = http.request({ url = "http://127.0.0.1:8080/health", status = 200 }).json
http.request({ url = "https://hooks.example.org/deploys", method = "POST", json = { version = "1.4" } })

-- [json.decode]
local limits = json.decode('{"cpu": 2, "names": ["a", "b"]}')

-- [mount]
mount({ path = "/srv/data", src = "UUID=2f1c7a52-0d3b-4c7e-9c55-8a4b5f5e4d11", fstype = "ext4", options = "noatime" })

-- [mysql.database]
mysql.database({ name = "app", charset = "utf8mb4" })

-- [mysql.grant]
mysql.grant({ name = "app", at = "10.0.%", database = "app", privileges = { "select", "insert", "update" } })

-- [mysql.user]
mysql.user({ name = "app", at = "10.0.%", password = secret("APP_DB_PASSWORD") })

-- [npm]
npm({ name = "pm2@5.3.0", global = true })

-- [parallel]
local found = parallel({
    disk = function() return cmd({ command = "df -h /", reads_only = true }).stdout end,
    load = function() return cmd({ command = "uptime", reads_only = true }).stdout end,
})
print(found.disk, found.load)

-- [pip]
pip({ name = { "gunicorn==22.0.0", "flask" }, virtualenv = "/srv/app/venv" })

-- [pkg]
pkg({ name = { "nginx", "curl" }, update_cache = true })
pkg({ name = "telnet", state = "absent" })

-- [pkg.hold]
pkg.hold("linux-image-amd64")

-- [pkg.key]
pkg.key({ name = "example", src = "keys/example.asc" })

-- [pkg.repository]
pkg.repository({
    name = "example",
    uris = "https://deb.example.org/debian",
    suites = "bookworm",
    components = "main",
    signed_by = pkg.key({ name = "example", src = "keys/example.asc" }).path,
})

-- [pkg.upgrade]
local done = pkg.upgrade({ update_cache = true })
log.info(#done.packages .. " packages are newer now")

-- [postgresql.database]
postgresql.database({ name = "app", owner = "app", encoding = "UTF8" })

-- [postgresql.grant]
postgresql.grant({ role = "report", database = "app", on = "table", object = "public.orders", privileges = "select" })

-- [postgresql.user]
postgresql.user({ name = "app", password = secret("APP_DB_PASSWORD") })

-- [secret]
local token = secret("API_TOKEN")                              -- a variable here
local key = secret({ file = "secrets/app.key" })
local password = secret({ command = { "pass", "show", "db" } })

-- [service]
service({ name = "nginx", state = "running", enabled = true })

-- [service.reload]
service.reload("nginx")

-- [service.restart]
service.restart("app")

-- [sleep]
sleep("5s")

-- [ssh_key.authorized]
ssh_key.authorized({ account = "deploy", key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB3Xl8R4n2JmXl8R4n2JmXl8R4n2JmXl8R4n2JmXl8R4 ann@laptop" })

-- [ssh_key.known_host]
ssh_key.known_host({ name = "git.example.org", key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB3Xl8R4n2JmXl8R4n2JmXl8R4n2JmXl8R4n2JmXl8R4" })

-- [state.agent]
local theirs = state.agent("db1").get("schema:version")

-- [state.compare_and_swap]
if not state.compare_and_swap("cluster:leader", "web1", "web2") then print("somebody else leads now") end

-- [state.get]
local version = state.get("deployed:version", "none")
local before = state.get("deployed:version", nil, { at = "2h" })   -- two hours ago

-- [state.history]
for _, r in ipairs(state.history("deployed:version", { limit = 5 })) do print(r.rev, r.time, r.new, r.user) end

-- [state.increment]
local number = state.increment("deploy:number")

-- [state.list]
for key, value in pairs(state.list("feature:")) do print(key, value) end

-- [state.list_push]
state.list_push("queue:mails", { to = "ann@example.org" })

-- [state.lock]
state.lock("deployment", "release-1.4", 300, { wait = "1m" })
state.set("deployment:status", "updating")
state.unlock("deployment", "release-1.4")

-- [state.rollback]
state.rollback("config:limits", 3)

-- [state.set]
state.set("deployed:version", "1.4")
state.set("session:token", "abc", { ttl = "1h", sensitive = true })
state.set("config:limits", { cpu = 2, names = { "a", "b" } })

-- [state.set_if_absent]
if state.set_if_absent("cluster:leader", this.agent) then print("I lead") end

-- [state.tag]
state.tag("before-upgrade")

-- [state.transaction]
state.transaction(function()
    local stock = state.get("stock", 0)
    if stock > 0 then state.set("stock", stock - 1) end
end)

-- [state.watch]
state.watch("deploy:stage", "ready", { timeout = "5m" })

-- [state.with_lock]
state.with_lock("deployment", "release-1.4", 300, function()
    state.set("deployment:status", "updating")
end)

-- [sudoers]
sudoers({ name = "deploy", content = "deploy ALL=(root) NOPASSWD: /usr/bin/systemctl reload nginx" })

-- [sysctl]
sysctl({ name = "net.ipv4.ip_forward", value = 1 })

-- [systemd.unit]
systemd.unit({
    name = "app",
    content = "[Service]\nExecStart=/usr/local/bin/app\n\n[Install]\nWantedBy=multi-user.target\n",
    notify = "restart-app",
})

-- [task]
task({
    name = "deploy",
    depends_on = "build",
    delegate_to = "@web",
    retries = 2,
    locks = "deployment",
    run = function(this, params, deps)
        file.write({ dest = "/srv/app/VERSION", content = deps.build.version .. "\n" })
        print("deployed on " .. this.agent)
    end,
})
task({ name = "build", run = function() return { version = "1.4" } end })

-- [template.render]
local text = template.render({ text = "port = {{ port }}\n", vars = { port = 8080 } })

-- [timezone]
timezone("Europe/Berlin")

-- [user]
user({ name = "deploy", shell = "/bin/bash", groups = { "www-data" }, append = true })

-- [wait_for]
wait_for({ port = 8080, timeout = "1m" })
wait_for({ url = "http://127.0.0.1:8080/health", interval = "2s" })

-- [workflow.define]
task({ name = "build", run = function() end })
task({ name = "test", depends_on = "build", run = function() end })
workflow.define("release", {
    tasks = { "test" },
    on_complete = function(ok, ended) print(ok and "released" or "not released") end,
})

-- [yaml.decode]
local limits = yaml.decode("cpu: 2\nnames: [a, b]\n")
