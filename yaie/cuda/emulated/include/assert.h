// Like the system's <assert.h> this may be included again and again, each time with NDEBUG set or not.
#undef assert
#ifdef NDEBUG
#define assert(condition) ((void)0)
#else
#define assert(condition) ((condition) ? (void)0 : emu_trap("assert(" #condition ")", emu::Site::here()))
#endif
