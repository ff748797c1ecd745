#include "functions/closure.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Where the memory of a page begins, so that it is found again. */
struct closure_page {
    uint32_t count;
};

#define PAGE_BYTES     4096u
#define ENTRY_BYTES    24u /* what stands before a closure */
#define CLOSURE_BYTES  88u
#define CLOSURES_FIRST 1u
_Static_assert(ENTRY_BYTES + sizeof(ffi_closure) <= CLOSURE_BYTES, "closures have grown");

__thread uintptr_t closure_caller __attribute__((tls_model("initial-exec")));

/* libffi has a way of its own to executable memory, which looks for a file system to put a file on, reads the environment
 * and takes locks. It asks here whether a closure comes from there, and where it is executed. */
int ffi_tramp_is_present(void *closure);
int ffi_tramp_is_present(void *closure)
{
    (void)closure;
    return 0;
}
#if defined(__aarch64__)
void *ffi_data_to_code_pointer(void *closure);
void *ffi_data_to_code_pointer(void *closure)
{
    return closure;
}
#endif

/* libffi's word for shapes that it has not made itself. It would end the program; it is never said of ours. */
_Noreturn void __wrap_abort(void);
_Noreturn void __wrap_abort(void)
{
    __builtin_trap();
}

static void put_entry(unsigned char *place);
static intptr_t thread_offset(void);
static void *executable_copy(const void *page);

static ffi_type *ffi_type_of(enum value_type type)
{
    static ffi_type *const signed_types[] = {
        [1] = &ffi_type_sint8, [2] = &ffi_type_sint16, [4] = &ffi_type_sint32, [8] = &ffi_type_sint64};
    static ffi_type *const unsigned_types[] = {
        [1] = &ffi_type_uint8, [2] = &ffi_type_uint16, [4] = &ffi_type_uint32, [8] = &ffi_type_uint64};
    switch (value_type_class(type)) {
    case CLASS_VOID:
        return &ffi_type_void;
    case CLASS_SIGNED:
        return signed_types[value_type_bytes(type)];
    case CLASS_UNSIGNED:
        return unsigned_types[value_type_bytes(type)];
    case CLASS_FLOATING:
        return type == VALUE_FLOAT ? &ffi_type_float : &ffi_type_double;
    case CLASS_POINTER:
        break;
    }
    return &ffi_type_pointer;
}

bool closure_shape(ffi_cif *shape, ffi_type **types, enum value_type returns,
                   const enum value_type *arguments, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        types[i] = ffi_type_of(arguments[i]);
    return ffi_prep_cif(shape, FFI_DEFAULT_ABI, count, ffi_type_of(returns), types) == FFI_OK;
}

struct closure_page *closure_page_open(void)
{
    int error = errno;
    void *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    errno = error;
    return page == MAP_FAILED ? NULL : page;
}

void *closure_make(struct closure_page *page, ffi_cif *shape,
                   void (*called)(ffi_cif *shape, void *result, void **arguments, void *data), void *data)
{
    char *place = (char *)page + (CLOSURES_FIRST + page->count) * CLOSURE_BYTES;
    if (place + CLOSURE_BYTES > (char *)page + PAGE_BYTES ||
        ffi_prep_closure_loc((ffi_closure *)(place + ENTRY_BYTES), shape, called, data,
                             place + ENTRY_BYTES) != FFI_OK)
        return NULL;
    put_entry((unsigned char *)place);
    page->count++;
    return place;
}

/* libffi does not tell who has called. This does, and goes on to the closure behind it. */
static void put_entry(unsigned char *place)
{
#if defined(__x86_64__)
    /* endbr64; mov (%rsp), %r11; mov %r11, %fs:closure_caller; nop... -- r11 is nobody's at a call */
    static const unsigned char code[] = {0xf3, 0x0f, 0x1e, 0xfa, 0x4c, 0x8b, 0x1c,
                                         0x24, 0x64, 0x4c, 0x89, 0x1c, 0x25};
    int32_t offset = (int32_t)thread_offset();
    _Static_assert(sizeof code + sizeof offset <= ENTRY_BYTES, "the entry has grown");
    memcpy(place, code, sizeof code);
    memcpy(place + sizeof code, &offset, sizeof offset);
    memset(place + sizeof code + sizeof offset, 0x90, ENTRY_BYTES - sizeof code - sizeof offset);
#elif defined(__aarch64__)
    /* bti c; mrs x16, tpidr_el0; movz x17, #low; movk x17, #high, lsl #16; add x16, x16, x17; str x30, [x16]
     * -- x16 and x17 are nobody's at a call */
    uint32_t offset = (uint32_t)thread_offset();
    const uint32_t code[] = {
        0xd503245f, 0xd53bd050, 0xd2800011 | (offset & 0xffff) << 5, 0xf2a00011 | offset >> 16 << 5,
        0x8b110210, 0xf900021e};
    _Static_assert(sizeof code == ENTRY_BYTES, "the entry has grown");
    memcpy(place, code, sizeof code);
    __builtin___clear_cache((char *)place, (char *)place + sizeof code);
#else
    (void)place; /* no function is bound here (functions/patch.c) */
#endif
}

/* Where closure_caller is, from where the processor has its thread's variables: the same in all threads. */
static intptr_t thread_offset(void)
{
    uintptr_t thread = 0;
#if defined(__x86_64__)
    __asm__("mov %%fs:0, %0" : "=r"(thread));
#elif defined(__aarch64__)
    __asm__("mrs %0, tpidr_el0" : "=r"(thread));
#endif
    return (intptr_t)((uintptr_t)&closure_caller - thread);
}

bool closure_page_finish(struct closure_page *page, intptr_t *moved)
{
    int error = errno;
    *moved = 0;
    if (mprotect(page, PAGE_BYTES, PROT_READ | PROT_EXEC) == 0)
        return true;
    /* Memory that was written to may not be executed here. What is in a file may. */
    void *copy = executable_copy(page);
    if (copy)
        *moved = (char *)copy - (char *)page;
    munmap(page, PAGE_BYTES);
    errno = error;
    return copy != NULL;
}

/* A closure finds its data by where it is itself, so it works wherever it is. */
static void *executable_copy(const void *page)
{
    long file = syscall(SYS_memfd_create, "libresil", 1u /* MFD_CLOEXEC */);
    void *copy = MAP_FAILED;
    if (file < 0)
        return NULL;
    if (syscall(SYS_write, file, page, PAGE_BYTES) == PAGE_BYTES)
        copy = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_EXEC, MAP_PRIVATE, (int)file, 0);
    syscall(SYS_close, file);
    return copy == MAP_FAILED ? NULL : copy;
}
