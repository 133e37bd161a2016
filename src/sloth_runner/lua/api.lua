-- Why: what a task file finds in its globals beside Lua's own: modules, pure functions, log, values, env.
-- Chunk 5 of the prelude; gets the internals, the global table, and the tables of names.

local core, env, state, parallel, yielding, pure, levels = ...
local py, trust, site = core.py, core.trust, core.site
local select, type, tostring, next, setmetatable, error = select, type, tostring, next, setmetatable, error
local getmetatable = getmetatable
local concat, sort, gmatch, match = table.concat, table.sort, string.gmatch, string.match

env.state, env.parallel = state, parallel

-- Put a function under its dotted name; a name may be a function and a table of others at once.
local function install(name, fn)
  local owner, last = env, name
  for part in gmatch(name, "([^.]+)%.") do
    local inner = owner[part]
    if type(inner) == "function" then
      local plain = inner
      inner = setmetatable({}, {
        __call = function(_, ...)
          return plain(...)
        end,
      })
      owner[part] = inner
    elseif inner == nil then
      inner = {}
      owner[part] = inner
    end
    owner = inner
  end
  last = match(name, "[^.]+$")
  if type(owner[last]) == "table" then
    setmetatable(owner[last], {
      __call = function(_, ...)
        return fn(...)
      end,
    })
  else
    owner[last] = fn
  end
end

local function no_functions(name, arguments)
  if type(arguments) ~= "table" then return end
  for field, value in next, arguments do
    if type(value) == "function" then
      core.fail("E-ARGUMENT", name .. ": " .. tostring(field) .. " can't be a function")
    end
  end
end

-- A call with one argument, and what core.flat made of it.
local function call_one(name, only, count, ...)
  if count then return core.call_flat(name, ...) end
  no_functions(name, only)
  return core.call_at(name, only)
end

for i = 1, #yielding do
  local name = yielding[i]
  install(name, function(...)
    if select("#", ...) == 1 then return call_one(name, (...), core.flat(...)) end
    for n = 1, select("#", ...) do
      no_functions(name, (select(n, ...)))
    end
    return core.call_at(name, ...)
  end)
end
for i = 1, #pure do
  install(pure[i], core.pure(i, pure[i]))
end

-- A secret that a program prints takes time; one from a variable or a file is there at once, also at the top level.
local secret = env.secret
if secret then
  function env.secret(what, ...)
    if type(what) == "table" and what.command ~= nil then
      return core.call_at("secret", what, ...)
    end
    return secret(what, ...)
  end
end
if not env.sleep then
  function env.sleep(...)
    return core.call_at("sleep", ...)
  end
end

-- facts: sections are asked for when they are read, and kept as long as the body.

local function fact(_, section, lenient)
  local own = core.facts[core.current]
  if own == nil then
    own = {}
    core.facts[core.current] = own
  end
  local value = own[section]
  if value == nil then
    value = core.call_at("facts", section, lenient)
    own[section] = value
  end
  return value
end

env.facts = setmetatable({}, {
  __index = fact,
  __newindex = function(_, section)
    error("facts." .. tostring(section) .. " can't be set: facts tell what the target is like", 2)
  end,
  __pairs = function()
    local names, at = core.call_at("facts"), 0
    return function()
      local value
      repeat
        at = at + 1
        if names[at] == nil then return nil end
        value = fact(nil, names[at], true) -- what this system can't tell is left out
      until value ~= nil
      return names[at], value
    end
  end,
})

-- Lines for people.

function core.say(level, text, file, line)
  local kept = core.quiet[core.current]
  if kept then
    kept[#kept + 1] = { level, text, file, line }
  else
    trust(py.say(level, text, file, line))
  end
end

local function speaker(level)
  return function(...)
    local parts = {}
    for i = 1, select("#", ...) do
      parts[i] = tostring((select(i, ...)))
    end
    core.say(level, concat(parts, "\t"), site(2))
  end
end

env.print = speaker("print")
env.log = {}
for i = 1, #levels do
  env.log[levels[i]] = speaker(levels[i])
end

-- values: a plain table, but reading what is missing is told once for each place.

local function watch(t, path)
  local named = true
  for key, value in next, t do
    if type(key) ~= "string" then named = false end
    if type(value) == "table" then watch(value, path .. "." .. tostring(key)) end
  end
  if not named then return t end
  return setmetatable(t, {
    __index = function(_, key)
      if type(key) ~= "string" then return nil end
      local known = {}
      for name in next, t do
        if type(name) == "string" then known[#known + 1] = name end
      end
      sort(known)
      trust(py.missing(path .. "." .. key, key, concat(known, "\n"), site(2)))
      return nil
    end,
  })
end

function core.set_values(...)
  env.values = watch(core.unflatten(...), "values")
end

-- env: the environment of the controller.

local function getenv(name, default)
  if type(name) ~= "string" then core.fail("E-ARGUMENT", "env needs the name of a variable, not " .. tostring(name)) end
  local value = trust(py.getenv(name))
  if value == nil then return default end
  return value
end

env.env = setmetatable({ get = getenv }, {
  __index = function(_, name)
    return getenv(name)
  end,
  __newindex = function(_, name)
    error("env." .. tostring(name) .. " can't be set: give env = {…} to the task or the call", 2)
  end,
  __call = function(_, name, default)
    return getenv(name, default)
  end,
})
env.os.getenv = function(name)
  return getenv(name)
end

-- What Python asks about names, for "did you mean"; "()" is among those of a table that can be called itself.
function core.names(path)
  local owner = env
  if path ~= "" then owner = env[path] end
  local found = {}
  if type(owner) == "table" then
    for name in next, owner do
      if type(name) == "string" then found[#found + 1] = name end
    end
    local meta = getmetatable(owner)
    if meta and meta.__call then found[#found + 1] = "()" end
  end
  return concat(found, "\n")
end
