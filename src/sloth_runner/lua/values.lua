-- Why: Python sees scalars only. A table crosses as a run of scalars (nil, 4 * count + form, items …), so that no
-- Lua object outlives its coroutine on the Python side, and nothing of Python can be reached from Lua.
-- Chunk 2 of the prelude.

local core = ...
local type, next, rawget, select, setmetatable, tostring = type, next, rawget, select, setmetatable, tostring
local unpack, mathtype, format = table.unpack, math.type, string.format
local sort, move, pairs, getmetatable = table.sort, table.move, pairs, debug.getmetatable
local fail, is_error = core.fail, core.is_error

local CHUNK, DEPTH, FEW = 200, 100, 20
local LIST, MAP, PAIRS, ORDERED = 0, 1, 2, 3
local plain = { ["nil"] = true, boolean = true, number = true, string = true }
local inbox, outbox = nil, nil
core.plain = plain

-- The form of a table and how many keys it has; or nil, nil and the type of a key that can't cross.
local function shape(t)
  local count, integers, strings = 0, true, true
  for key in next, t do
    count = count + 1
    local kind = type(key)
    if kind ~= "string" then strings = false end
    if mathtype(key) ~= "integer" then integers = false end
    if not plain[kind] then return nil, nil, kind end
  end
  if strings then return MAP, count end
  if not integers then return PAIRS, count end
  for i = 1, count do
    if rawget(t, i) == nil then return PAIRS, count end
  end
  return LIST, count
end

local function below(path, key)
  if type(key) == "string" then return path .. "." .. key end
  return path .. "[" .. tostring(key) .. "]"
end

local function named(what, path)
  return path == "" and what or what .. " (at " .. path .. ")"
end

local put
local function put_table(out, n, value, what, path, depth)
  if depth >= DEPTH then
    fail("E-VALUE-TYPE", what .. " is nested more than " .. DEPTH .. " deep, or holds itself")
  end
  local form, count, bad = shape(value)
  if not form then fail("E-VALUE-TYPE", format("%s can't have a %s as a key", named(what, path), bad)) end
  out[n + 2] = 4 * count + form
  n = n + 2
  if form == LIST then
    for i = 1, count do
      n = put(out, n, rawget(value, i), what, below(path, i), depth + 1)
    end
    return n
  end
  for key, item in next, value do
    out[n + 1] = key
    n = put(out, n + 1, item, what, below(path, key), depth + 1)
  end
  return n
end

function put(out, n, value, what, path, depth)
  if value == nil then
    out[n + 2] = -1
    return n + 2
  end
  if plain[type(value)] then
    out[n + 1] = value
    return n + 1
  end
  if is_error(value) then
    out[n + 1] = tostring(value)
    return n + 1
  end
  if type(value) == "table" then return put_table(out, n, value, what, path, depth) end
  return fail("E-VALUE-TYPE", named(what, path) .. " can't be a " .. type(value))
end
function core.put(out, n, value, what)
  return put(out, n, value, what, "", 0)
end

-- How many keys there are in one small table of plain values by text keys, as most arguments are, and keys and values in
-- turn; nothing for another.
local function spread(t, count, key, ...)
  local name, value = next(t, key)
  if name == nil then return count, ... end
  if count == FEW or type(name) ~= "string" or not plain[type(value)] then return end
  return spread(t, count + 1, name, name, value, ...)
end
function core.flat(t)
  if type(t) == "table" then return spread(t, 0) end
end

function core.flatten(what, ...)
  local out, n, count = {}, 0, select("#", ...)
  for i = 1, count do
    n = put(out, n, (select(i, ...)), count > 1 and what .. ": argument " .. i or what, "", 0)
  end
  return out, n
end

-- How many scalars there are beside the ones handed out at once (0: none), and those.
function core.first(out, n)
  if n <= CHUNK then return 0, unpack(out, 1, n) end
  outbox = out
  return n, unpack(out, 1, CHUNK)
end

function core.fetch(from, to)
  return unpack(outbox, from, to)
end

-- Send the scalars in pieces to `push`, but for the last piece; returns how many were sent, and that piece.
function core.send(out, n, push)
  local at = 1
  while n - at >= CHUNK do
    core.trust(push(unpack(out, at, at + CHUNK - 1)))
    at = at + CHUNK
  end
  return at - 1, unpack(out, at, n)
end

-- Lua walks names in an order that is another in each process: a plan would not name what the run does, and a text that
-- is made in a loop would differ each time. So pairs walks numbers first, then texts, each from the smallest on.

local ranks = { number = 1, string = 2 }

local function is_before(one, other)
  local left, right = ranks[type(one)], ranks[type(other)]
  if left ~= right then return left < right end
  return one < other
end

-- The keys in order, or nil where Lua's own order is that already: that of a list is.
local function in_order(t)
  local keys, n, others, steady, last = {}, 0, {}, true, nil
  for key in next, t do
    if not ranks[type(key)] then
      others[#others + 1] = key
    else
      steady = steady and (last == nil or is_before(last, key))
      n, last = n + 1, key
      keys[n] = key
    end
  end
  if steady and #others == 0 then return nil end
  sort(keys, is_before)
  return move(others, 1, #others, n + 1, keys)
end

function core.pairs(...)
  local t = ...
  local meta = getmetatable(t)
  local keys = type(t) == "table" and not (meta and rawget(meta, "__pairs")) and in_order(t)
  if not keys then return pairs(...) end
  local at = 0
  return function()
    local key, value
    repeat
      at = at + 1
      key = keys[at]
      if key == nil then return nil end
      value = rawget(t, key)
    until value ~= nil
    return key, value
  end, t, nil
end

-- A table that pairs walks in the order of `keys`, then whatever was added later.
local function ordered(t, keys)
  local position = {}
  for i = 1, #keys do
    position[keys[i]] = i
  end
  local function after(_, key)
    local i = key == nil and 0 or position[key]
    if i then
      for j = i + 1, #keys do
        local value = rawget(t, keys[j])
        if value ~= nil then return keys[j], value end
      end
      key = nil
    end
    local value
    repeat
      key, value = next(t, key)
    until key == nil or not position[key]
    return key, value
  end
  return setmetatable(t, {
    __pairs = function()
      return after, t, nil
    end,
  })
end

local take
local function take_table(from, at, code)
  local form, count, t = code % 4, code // 4, {}
  if form == LIST then
    for i = 1, count do
      t[i], at = take(from, at)
    end
    return t, at
  end
  local keys = {}
  for i = 1, count do
    local key = from[at]
    keys[i] = key
    t[key], at = take(from, at + 1)
  end
  if form == ORDERED then ordered(t, keys) end
  return t, at
end

function take(from, at)
  local value = from[at]
  if value ~= nil then return value, at + 1 end
  local code = from[at + 1]
  if code == -1 then return nil, at + 2 end
  return take_table(from, at + 2, code)
end

-- Scalars that are too many for one call come first, in pieces.
function core.feed(...)
  inbox = inbox or { n = 0 }
  local n, more = inbox.n, select("#", ...)
  local piece = { ... }
  for i = 1, more do
    inbox[n + i] = piece[i]
  end
  inbox.n = n + more
end

-- The values that the last `fed` scalars and these stand for.
function core.unflatten(fed, ...)
  local from, n, at = { ... }, select("#", ...), 1
  if fed > 0 then
    core.feed(...)
    from, n, at = inbox, inbox.n, inbox.n - n - fed + 1
  end
  inbox = nil
  local out, count = {}, 0
  while at <= n do
    count = count + 1
    out[count], at = take(from, at)
  end
  return unpack(out, 1, count)
end

return core
