-- Why: what would act behind the plan's back is gone from a task file's globals, and its name says what to use.
-- Chunk 3b of the prelude: gets the internals, returns the global table of task files.

local core = ...
local py, trust, fail = core.py, core.trust, core.fail
local load, error, type, tostring, setmetatable, select, pcall = load, error, type, tostring, setmetatable, select, pcall
local getinfo, traceback, collectgarbage, open, lines, iotype = debug.getinfo, debug.traceback, collectgarbage, io.open, io.lines, io.type
local concat, sub, find = table.concat, string.sub, string.find

local env = {}
for _, name in ipairs({
  "error", "getmetatable", "ipairs", "next", "rawequal", "rawget", "rawlen", "rawset", "select",
  "tonumber", "tostring", "type", "_VERSION",
}) do
  env[name] = _G[name]
end
local function copy(library)
  local out = {}
  for name, value in next, library do
    out[name] = value
  end
  return out
end
env._G = env

-- Lua's own assert, as a table that can be called, so that there is room for assert.that in it.
env.assert = setmetatable({}, {
  __call = function(_, ...)
    if ... then return ... end
    if select("#", ...) == 0 then error("bad argument #1 to 'assert' (value expected)", 2) end
    local message = "assertion failed!"
    if select("#", ...) > 1 then message = select(2, ...) end
    error(message, 2)
  end,
})
env.string, env.table, env.math, env.utf8 = copy(string), copy(table), copy(math), copy(utf8)
env.coroutine, env.pcall, env.xpcall, env.pairs = core.coroutine, core.pcall, core.xpcall, core.pairs
env.os = { time = os.time, date = os.date, clock = os.clock, difftime = os.difftime }
string.dump = nil
getmetatable("").__index = env.string

local function refused(name, instead)
  return function()
    fail("E-ARGUMENT", name .. " is not there for task files: it would act behind the plan's back", instead)
  end
end

local advice = {
  os = {
    execute = 'use cmd("…")', remove = "use file.absent", rename = "use cmd or file.copy",
    exit = 'return false, "why" to fail, return true to end well', tmpname = "use cmd or a fixed path",
    setlocale = "set LANG or LC_ALL in the task's env",
  },
  io = {
    popen = "use cmd: its result has stdout", write = "use print or log.info", read = "a run has no input: use values or env",
    output = "use print or log.info", input = "open the file with io.open", tmpfile = "use cmd or a fixed path",
    close = "close the file itself: f:close()", flush = "print and log.info need none",
  },
  string = { dump = "functions can't be stored" },
}
env.io = { type = iotype }
for library, functions in next, advice do
  for name, instead in next, functions do
    env[library][name] = refused(library .. "." .. name, instead)
  end
end
-- The streams have methods, so they are tables of which nothing can be asked.
for name, instead in next, {
  stdin = "a run has no input: use values or env", stdout = "use print or log.info", stderr = "use log.warn or log.error",
} do
  env.io[name] = setmetatable({}, { __index = refused("io." .. name, instead), __metatable = false })
end
env.warn = refused("warn", "use log.warn")
env.dofile = refused("dofile", "use require: it loads Lua files below the task file's folder")
env.loadfile = refused("loadfile", "use require: it loads Lua files below the task file's folder")

-- Files are read only, and relative to the task file's folder, as everywhere in a task file.

function env.io.open(path, mode)
  mode = mode == nil and "r" or mode
  if mode ~= "r" and mode ~= "rb" then
    fail("E-ARGUMENT", "io.open reads only; mode " .. tostring(mode) .. " is refused", "use file.write, file.copy or cmd")
  end
  if type(path) ~= "string" then error("bad argument #1 to 'open' (string expected)", 2) end
  return open(trust(py.path(path)), mode)
end

function env.io.lines(path, ...)
  if type(path) ~= "string" then refused("io.lines without a file", "give it a path")() end
  return lines(trust(py.path(path)), ...)
end

-- Code is loaded from text only, into the same globals.

local function text_of(chunk)
  if type(chunk) == "string" then return chunk end
  if type(chunk) ~= "function" then error("bad argument #1 to 'load' (string or function expected)", 3) end
  local parts = {}
  while true do
    local part = chunk()
    if part == nil or part == "" then return concat(parts) end
    parts[#parts + 1] = part
  end
end

function env.load(chunk, name, _, ...)
  local text = text_of(chunk)
  name = type(name) == "string" and name or text
  if name == core.source then name = "=load" end
  if select("#", ...) > 0 then return load(text, name, "t", (...)) end
  return load(text, name, "t", env)
end

local loaded, loading = {}, {}
local function load_module(name)
  if type(name) ~= "string" then error("bad argument #1 to 'require' (string expected)", 3) end
  if loading[name] then fail("E-ARGUMENT", "require: " .. name .. " requires itself, directly or through others") end
  local text, path = trust(py.module(name))
  local chunk, problem = load(text, path, "t", env)
  if not chunk then trust(py.syntax(problem, path)) end
  loading[name] = true
  local ok, value = pcall(chunk, name)
  loading[name] = nil
  if not ok then error(value, 0) end
  if value == nil then value = true end
  loaded[name] = value
  return value
end

function env.require(name)
  local value = loaded[name]
  if value ~= nil then return value end
  if type(name) == "string" and name ~= "_G" and type(rawget(env, name)) == "table" then return env[name] end
  return load_module(name)
end
env.package = {
  loaded = loaded, path = "./?.lua;./?/init.lua", loadlib = refused("package.loadlib", "use cmd"),
  searchpath = refused("package.searchpath", "use require: it finds Lua files below the task file's folder"),
}

-- A finalizer runs where no hook can stop it, at a time nobody chose.
function env.setmetatable(t, meta)
  if type(meta) == "table" and rawget(meta, "__gc") ~= nil then
    fail("E-ARGUMENT", "__gc is not there for task files", "use local x <close> = …, which ends at a known time")
  end
  return setmetatable(t, meta)
end

function env.collectgarbage(what, ...)
  if what == "count" or what == "collect" or what == nil then return collectgarbage(what) end
  fail("E-ARGUMENT", "collectgarbage(" .. tostring(what) .. ") is refused; count and collect are there")
end

local shown = { "source", "short_src", "what", "currentline", "linedefined", "lastlinedefined", "name", "nparams" }
env.debug = {
  traceback = function(message, ...)
    if type(message) == "thread" then return traceback(message, ...) end
    if message ~= nil and type(message) ~= "string" and type(message) ~= "number" then return message end
    return traceback(message, 2)
  end,
  getinfo = function(where)
    if type(where) == "number" then where = where + 1 end
    local info = getinfo(where, "Slnu")
    if not info then return nil end
    local out = {}
    for i = 1, #shown do
      out[shown[i]] = info[shown[i]]
    end
    return out
  end,
}
for _, name in ipairs({
  "debug", "gethook", "getlocal", "getmetatable", "getregistry", "getupvalue", "getuservalue", "sethook", "setlocal",
  "setmetatable", "setupvalue", "setuservalue", "upvalueid", "upvaluejoin",
}) do
  env.debug[name] = refused("debug." .. name, "debug.traceback and debug.getinfo are there")
end

return env
