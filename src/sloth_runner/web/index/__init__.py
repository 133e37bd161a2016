"""Why: a million keys are counted, folded and searched while someone types; a store's three verbs can't do that.

The names of all live keys, and the beginnings of the values that may be seen, stand in memory as long runs of
bytes in key order, cut into leaves. A leaf is made from one scan of its part of the store, and made anew when
something in that part has changed.
"""
