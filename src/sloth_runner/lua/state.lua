-- Why: functions that take a Lua function can't be performed by Python (no yield crosses it), so with_lock,
-- transaction, watch and parallel are built here on the scheduler's plain calls; the rest of `state` beside them.
-- Chunk 4 of the prelude.

local core = ...
local call_one, call_two, call_state, fail = core.call_one, core.call_two, core.call_state, core.fail
local select, type, rawequal, error, xpcall = select, type, rawequal, error, xpcall
local pack, unpack, sort, tostring, next = table.pack, table.unpack, table.sort, tostring, next
local mathtype, sub = math.type, string.sub
local TRIES = 10

local names = {
  "set", "exists", "delete", "list", "keys", "increment", "decrement", "set_if_absent", "compare_and_swap", "append",
  "list_push", "list_pop", "list_length", "get_ttl", "set_ttl", "history", "rollback", "diff", "tag", "verify", "lock",
  "try_lock", "unlock", "is_locked", "stats",
}

local function refuse_colon(handle, what, first)
  if rawequal(handle, first) then
    fail("E-ARGUMENT", what .. " is called with a dot, not with a colon", what .. "(…)")
  end
end

local function plain_function(handle, selector, name)
  local what = "state." .. name
  return function(...)
    local count = select("#", ...)
    if count == 1 then
      local a = ...
      refuse_colon(handle, what, a)
      return call_one(what, selector, a)
    end
    refuse_colon(handle, what, (...))
    if count == 2 then return call_two(what, selector, ...) end
    return call_state(what, selector, ...)
  end
end

-- The default never leaves Lua: it may be any value, and it comes back as itself.
local function get_function(handle, selector)
  local function either(default, value)
    if value == nil then return default end
    return value
  end
  return function(...)
    local count = select("#", ...)
    local key, default = ...
    refuse_colon(handle, "state.get", key)
    if count < 2 then return call_state("state.get", selector, ...) end
    if count == 2 then return either(default, call_one("state.get", selector, key)) end
    return either(default, call_state("state.get", selector, key, nil, select(3, ...)))
  end
end

local FORMS = {
  "state.with_lock(name, fn [, ttl [, opts]])",
  "state.with_lock(name, ttl, fn [, opts])",
  "state.with_lock(name, holder, fn [, opts])",
  "state.with_lock(name, holder, ttl, fn [, opts])",
}

-- The second argument decides: text is the holder, a number the ttl, a function the body.
local function lock_arguments(second, third, fourth, fifth)
  local kind = type(second)
  if kind == "function" then return nil, third, second, fourth end
  if kind == "number" then return nil, second, third, fourth end
  if type(third) == "function" then return second, nil, third, fourth end
  return second, third, fourth, fifth
end

local function with_lock_function(handle, selector)
  return function(name, ...)
    refuse_colon(handle, "state.with_lock", name)
    local holder, ttl, fn, opts = lock_arguments(...)
    if type(fn) ~= "function" or (holder ~= nil and type(holder) ~= "string") then
      fail("E-ARGUMENT", "state.with_lock needs a name and a function", table.concat(FORMS, "\n"))
    end
    local token, entered = call_state("state.lock_enter", selector, name, holder, ttl, opts)
    local result = pack(xpcall(fn, core.locate, token))
    local failed = not result[1] and result[2]
    local open = not (failed and core.is_final(core.raised(failed)))
    local own = failed and open and select(5, core.describe(failed)) or nil
    local left = pack(xpcall(call_state, core.locate, "state.lock_exit", selector, entered, open, own))
    if not left[1] and open and (not failed or core.is_final(core.raised(left[2]))) then core.again(left[2]) end
    if failed then core.again(failed) end
    return unpack(result, 2, result.n)
  end
end

-- One try: what fn did, and whether to try again. Lines are kept until it counts.
local function try(selector, fn, last)
  local begun = call_state("state.txn_begin", selector)
  local quiet, body = core.quiet, core.current
  local kept = {}
  quiet[body] = kept
  local result = pack(xpcall(fn, core.locate))
  quiet[body] = nil
  local verdict
  if last then
    verdict = call_state("state.txn_end", selector, begun, result[1], true)
  else
    verdict = call_state("state.txn_end", selector, begun, result[1])
  end
  if verdict == "again" and not (not result[1] and core.is_final(core.raised(result[2]))) then return nil end
  for i = 1, #kept do
    core.say(unpack(kept[i], 1, 4))
  end
  return result
end

local function transaction_function(handle, selector)
  return function(fn)
    refuse_colon(handle, "state.transaction", fn)
    if type(fn) ~= "function" then
      fail("E-ARGUMENT", "state.transaction needs a function, not a " .. type(fn))
    end
    for i = 1, TRIES do
      local result = try(selector, fn, i == TRIES)
      if result then
        if not result[1] then core.again(result[2]) end
        return unpack(result, 2, result.n)
      end
    end
    fail("E-BUG", "the scheduler asked for one more try of a transaction than there are")
  end
end

-- What is waited for: any change (nil), a value, or what a function says of each value, the one that is there first.
local function foreseen(change)
  if change == true then return core.unknown("it was made") end
  return change
end

local function follow(selector, entered, test, value, last)
  if test and test(value, last) then return value, last end
  while true do
    local new, change = call_state("state.watch_next", selector, entered)
    change = foreseen(change)
    if not test or test(new, change) then return new, change end
  end
end

local function watch_function(handle, selector)
  return function(key, condition, opts)
    refuse_colon(handle, "state.watch", key)
    local test = type(condition) == "function" and condition or nil
    local kind, wanted = "value", condition
    if test or condition == nil then
      kind, wanted = test and "function" or "change", nil
    end
    local entered, value, last = call_state("state.watch_enter", selector, key, wanted, kind, opts)
    last = foreseen(last)
    if not entered then return value, last end
    local result = pack(xpcall(follow, core.locate, selector, entered, test, value, last))
    local left = pack(xpcall(call_state, core.locate, "state.watch_leave", selector, entered))
    if not result[1] then core.again(result[2]) end
    if not left[1] then core.again(left[2]) end
    return unpack(result, 2, result.n)
  end
end

local function new_state(selector)
  local state = {}
  for i = 1, #names do
    state[names[i]] = plain_function(state, selector, names[i])
  end
  state.get = get_function(state, selector)
  state.with_lock = with_lock_function(state, selector)
  state.transaction = transaction_function(state, selector)
  state.watch = watch_function(state, selector)
  return state
end

local state = new_state(nil)
state.shared = new_state("@shared")
function state.agent(name)
  refuse_colon(state, "state.agent", name)
  if type(name) ~= "string" or name == "" or sub(name, 1, 1) == "@" then
    fail("E-ARGUMENT", "state.agent needs the name of an agent, not " .. tostring(name))
  end
  return new_state(name)
end

-- Functions side by side.

local function place(key)
  return mathtype(key) == "integer" and 1 or 2
end

local function check_branches(fns)
  if type(fns) ~= "table" then
    fail("E-ARGUMENT", "parallel needs a table of functions, not a " .. type(fns))
  end
  local keys = {}
  for key, fn in next, fns do
    if type(key) ~= "string" and mathtype(key) ~= "integer" then
      fail("E-ARGUMENT", "parallel: the keys are 1, 2, 3 … or names, not " .. tostring(key))
    end
    if type(fn) ~= "function" then
      fail("E-ARGUMENT", "parallel: [" .. tostring(key) .. "] is a " .. type(fn) .. ", not a function")
    end
    keys[#keys + 1] = key
  end
  sort(keys, function(a, b)
    if place(a) ~= place(b) then return place(a) < place(b) end
    return a < b
  end)
  return keys
end

local function parallel(fns)
  local keys = check_branches(fns)
  local count, numbers, out = #keys, {}, {}
  if count == 0 then return out end
  for i = 1, count do
    numbers[i] = core.register(fns[keys[i]])
  end
  local results = pack(xpcall(core.call_functions, core.locate, "parallel", keys, numbers))
  for i = 1, count do
    core.release(numbers[i])
  end
  if not results[1] then core.again(results[2]) end
  for i = 1, count do
    out[keys[i]] = results[i + 1]
  end
  return out
end

return state, parallel
