/* attr.h - words for what the compiler can watch over: results, owned locals, hot branches. */
#ifndef BASE_ATTR_H
#define BASE_ATTR_H

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_at, args_at) __attribute__((format(printf, format_at, args_at)))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
/* Rarely called: kept out of line, so that it costs its hot caller no registers. */
#define COLD __attribute__((cold, noinline))
/* For the rare call whose failure changes nothing: say beside it why. */
#define IGNORE(call)                                                                               \
    do {                                                                                           \
        __typeof__(call) ignored_ = (call);                                                        \
        (void)ignored_;                                                                            \
    } while (0)
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* OWNER(f, T) beside the destructor f(T) lets a local say `T x OWNED(f) = NULL;`:
 * f(x) then runs on every way out of the scope. GIVE(x) yields x and leaves NULL. */
#define OWNER(f, type)                                                                             \
    static inline void f##_owned(type *p)                                                          \
    {                                                                                              \
        f(*p);                                                                                     \
    }                                                                                              \
    struct owner_needs_semicolon_##f
#define OWNED(f) __attribute__((cleanup(f##_owned)))
#define GIVE(p)                                                                                    \
    (__extension__({                                                                               \
        __typeof__(p) given_ = (p);                                                                \
        (p) = NULL;                                                                                \
        given_;                                                                                    \
    }))

#endif
