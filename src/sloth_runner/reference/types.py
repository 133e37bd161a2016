"""Why: what an argument can be is checked by a function; for editors and pages it also needs a type and words."""

from __future__ import annotations

from collections.abc import Mapping

from sloth_runner.plain import Final, NamedTuple


class ArgType(NamedTuple):
    """A type of arguments: as lua-language-server writes it, and in words."""

    lua: str
    words: str


TYPES: Final[Mapping[str, ArgType]] = {
    "string": ArgType("string", "text without NUL bytes"),
    "line": ArgType("string", "text that is not blank"),
    "command": ArgType("string", "a line for the shell"),
    "content": ArgType("string", "any text, byte for byte"),
    "path": ArgType("string", "an absolute path on the target, without .."),
    "file path": ArgType("string", "an absolute path on the target that names a file, not only its folder"),
    "boolean": ArgType("boolean", "true or false"),
    "mode": ArgType("string", 'octal text such as "0644"'),
    "owner": ArgType("string|integer", "a name or a number"),
    "strings": ArgType("string|string[]", "a string or a list of strings"),
    "argv": ArgType("(string|number)[]", "a list: a program and its arguments"),
    "variables": ArgType("table<string, string|number>", "a table of names and texts"),
    "vars": ArgType("table<string, any>", "a table with text keys"),
    "when": ArgType(
        "boolean|{exit_codes?: integer[], stdout?: string, stderr?: string}",
        'true, false, or {exit_codes = {…}, stdout = "regexp", stderr = "regexp"}',
    ),
    "text line": ArgType("string", "one line of text, without its end"),
    "regexp": ArgType("string", "a regular expression (Python's)"),
    "state": ArgType('"present"|"absent"', '"present" or "absent"'),
    "validate": ArgType(
        "string|string[]", 'a command with %s for the file, such as "nginx -t -c %s"; no shell sees it'
    ),
    "key": ArgType("string|string[]", "a dotted key, or a list of its parts"),
    "key format": ArgType('"json"|"yaml"|"toml"|"ini"', '"json", "yaml", "toml" or "ini"'),
    "value": ArgType("sloth.Value", "anything that Lua can pass: text, number, boolean, table"),
    "copied mode": ArgType("string", 'octal text such as "0644", or "source"'),
    "digest": ArgType('"sha256"|"sha512"|"sha1"|"md5"', '"sha256", "sha512", "sha1" or "md5"'),
    "acl": ArgType(
        "table<string, string|false>",
        'entries of an ACL: { ["user:ann"] = "rw", ["default:group:dev"] = false }',
    ),
    "count": ArgType("integer", "a whole number from 0"),
    "sha256": ArgType("string", "a SHA-256 in hex"),
    "postgresql name": ArgType("string", "a name of up to 63 bytes"),
    "postgresql names": ArgType("string|string[]", "a name or a list of names, of up to 63 bytes each"),
    "postgresql object": ArgType(
        '"database"|"schema"|"table"|"sequence"', "a word: database, schema, table, sequence"
    ),
    "mysql account": ArgType("string", "a name of up to 80 bytes"),
    "mysql name": ArgType("string", "a name of up to 64 bytes"),
    "mysql host": ArgType("string", "a host name or address, with % and _ as wildcards"),
    "mysql auth": ArgType('"password"|"unix_socket"', '"password" or "unix_socket"'),
    "mysql tls": ArgType('"none"|"ssl"|"x509"', '"none", "ssl" or "x509"'),
    "password": ArgType("string", "one line that is not empty"),
    "privileges": ArgType("string|string[]", 'a privilege or a list of them, or "all"'),
    "database port": ArgType("integer", "a number from 1 to 65535"),
    "connection limit": ArgType("integer", "a number; -1 means no limit"),
    "expiry": ArgType("string", 'a time in UTC such as "2030-01-31 12:00:00", or "never"'),
    "database word": ArgType("string", "one word such as utf8mb4 or de_DE.UTF-8"),
    "subject text": ArgType("string", "a text of up to 64 characters"),
    "subject": ArgType("table<string, string>", "a table of fields: C, ST, L, O, OU, CN, emailAddress"),
    "dns names": ArgType("string|string[]", "a host name or a list of them"),
    "ip addresses": ArgType("string|string[]", "an IP address or a list of them"),
    "key type": ArgType('"rsa"|"ec"|"ed25519"', '"rsa", "ec" or "ed25519"'),
    "curve": ArgType('"prime256v1"|"secp384r1"|"secp521r1"', "the name of a curve"),
    "integer": ArgType("integer", "a whole number"),
    "one line": ArgType("string", "one line of text that is not blank"),
    "account": ArgType("string", "the name of an account"),
    "accounts": ArgType("string|string[]", "a name of an account, or a list of them"),
    "account or number": ArgType("string|integer", "the name of an account, or a number"),
    "identity": ArgType("integer", "a number from 0 to 4294967294"),
    "password hash": ArgType("string", "a hash as in /etc/shadow"),
    "account field": ArgType("string", "one line without a colon"),
    "program": ArgType("string", "an absolute path without .. and colons"),
    "day": ArgType("string", 'a day such as "2027-03-31", or "never"'),
    "unit": ArgType("string", "the name of a unit such as nginx or backup.timer"),
    "units": ArgType(
        "string|string[]", "the name of a unit such as nginx or backup.timer, or a list of them"
    ),
    "address": ArgType("string", "an IP address"),
    "host": ArgType("string", "a host name"),
    "hosts": ArgType("string|string[]", "a host name, or a list of them"),
    "zone": ArgType("string", "a time zone such as Europe/Berlin"),
    "sysctl": ArgType("string", "a kernel setting such as vm.swappiness"),
    "setting": ArgType("string|number", "a number or one line of text"),
    "mount options": ArgType("string|string[]", 'options such as "ro,nosuid", or a list'),
    "sudoers name": ArgType("string", "letters, digits, - and _"),
    "present or absent": ArgType('"present"|"absent"', '"present" or "absent"'),
    "running or stopped": ArgType('"running"|"stopped"', '"running" or "stopped"'),
    "mount state": ArgType(
        '"mounted"|"unmounted"|"present"|"absent"', '"mounted", "unmounted", "present" or "absent"'
    ),
    "public keys": ArgType("string|string[]", "a public key's line, several lines, or a list of them"),
    "key options": ArgType("string|string[]", "options such as restrict, as in authorized_keys"),
    "ssh host": ArgType("string", "a host name or address, or [name]:port"),
    "cron field": ArgType("string|integer", "a field of a crontab such as 5, 1-5, */10"),
    "special time": ArgType(
        '"reboot"|"hourly"|"daily"|"weekly"|"monthly"|"yearly"|"annually"|"midnight"',
        "reboot, hourly, daily, weekly, monthly, yearly, annually or midnight",
    ),
    "file system": ArgType("string", "a type such as ext4, tmpfs or none"),
    "duration": ArgType("sloth.Duration", 'seconds, or text such as "30s", "5m"'),
    "url": ArgType("string", "a URL that begins with https:// or http://"),
    "port": ArgType("integer", "a port, 1 to 65535"),
    "method": ArgType("string", "a method of HTTP such as GET"),
    "headers": ArgType("table<string, string>", "a table of names and texts"),
    "statuses": ArgType("integer|integer[]", "a status of HTTP such as 200, or a list of them"),
    "checksum": ArgType("string", '"sha256:…" or "sha512:…"'),
    "any": ArgType("any", "any value"),
    "conditions": ArgType(
        "boolean|string|(boolean|string)[]", "a boolean, a line for the shell, or a list of these"
    ),
    "present, absent or latest": ArgType('"present"|"absent"|"latest"', '"present", "absent" or "latest"'),
    "packages": ArgType("string|string[]", "a package, or a list of them"),
    "file name": ArgType("string", "letters, digits, _, - and ."),
    "source words": ArgType("string|string[]", "a word, or a list of them"),
    "source uris": ArgType("string|string[]", "a https://, http:// or file:/ address, or a list of them"),
    "fingerprint": ArgType("string", "40 hex digits, with blanks or without"),
    "repository": ArgType("string", "a URL, user@host:path, or an absolute path"),
    "git version": ArgType("string", "a branch, a tag or a whole commit"),
    "depth": ArgType("integer", "a whole number from 1"),
    "python packages": ArgType("string|string[]", "a package of Python, or a list of them"),
    "paths": ArgType("string|string[]", "an absolute path on the target, or a list of them"),
    "npm packages": ArgType("string|string[]", "a package of npm, or a list of them"),
}
"""The types of arguments by their names in ``modules.arguments.TYPES``; a test holds the two together."""
