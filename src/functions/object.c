#include "functions/object.h"

#include <elf.h>
#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VERSION_HIDDEN 0x8000
#define VERSION_GLOBAL 1 /* the symbol has none */

static void read_dynamic(const Elf64_Dyn *dynamic, struct object *object);
static const void *at(const struct object *object, Elf64_Addr address);
static uint32_t gnu_symbol(const struct object *object, const char *name, uint32_t after);
static uint32_t sysv_symbol(const struct object *object, const char *name, uint32_t after);
static bool is_it(const struct object *object, uint32_t symbol, const char *name);
static uintptr_t page_size(void);

bool object_read(const struct dl_phdr_info *info, struct object *object)
{
    const Elf64_Dyn *dynamic = NULL;
    *object = (struct object){.base = info->dlpi_addr, .name = info->dlpi_name ? info->dlpi_name : ""};
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const Elf64_Phdr *part = &info->dlpi_phdr[i];
        uintptr_t begin = object->base + part->p_vaddr, end = begin + part->p_memsz;
        if (part->p_type == PT_DYNAMIC) {
            dynamic = (const Elf64_Dyn *)begin;
        } else if (part->p_type == PT_LOAD && part->p_flags & PF_X) {
            if (!object->code_end || begin < object->code_begin)
                object->code_begin = begin;
            if (end > object->code_end)
                object->code_end = end;
        } else if (part->p_type == PT_GNU_RELRO) {
            /* As the loader rounds it: what shares its last page with other data stays writable. */
            object->relro_begin = begin & ~(page_size() - 1);
            object->relro_end = end & ~(page_size() - 1);
        }
    }
    const char *slash = strrchr(object->name, '/');
    if (slash)
        object->name = slash + 1;
    if (!dynamic)
        return false;
    read_dynamic(dynamic, object);
    return object->symbols && object->strings;
}

static void read_dynamic(const Elf64_Dyn *dynamic, struct object *object)
{
    size_t skipped = 0, size = 0, calls_size = 0;
    const Elf64_Dyn *soname = NULL;
    bool is_rela = true;
    for (const Elf64_Dyn *entry = dynamic; entry->d_tag != DT_NULL; entry++) {
        switch (entry->d_tag) {
        case DT_SYMTAB:
            object->symbols = at(object, entry->d_un.d_ptr);
            break;
        case DT_STRTAB:
            object->strings = at(object, entry->d_un.d_ptr);
            break;
        case DT_GNU_HASH:
            object->gnu_hash = at(object, entry->d_un.d_ptr);
            break;
        case DT_HASH:
            object->hash = at(object, entry->d_un.d_ptr);
            break;
        case DT_VERSYM:
            object->versions = at(object, entry->d_un.d_ptr);
            break;
        case DT_VERNEED:
            object->needed = at(object, entry->d_un.d_ptr);
            break;
        case DT_VERDEF:
            object->defined = at(object, entry->d_un.d_ptr);
            break;
        case DT_RELA:
            object->relocations[0].items = at(object, entry->d_un.d_ptr);
            break;
        case DT_RELASZ:
            size = entry->d_un.d_val / sizeof(Elf64_Rela);
            break;
        case DT_RELACOUNT: /* so many at the beginning have no symbol */
            skipped = entry->d_un.d_val;
            break;
        case DT_JMPREL:
            object->relocations[1].items = at(object, entry->d_un.d_ptr);
            break;
        case DT_PLTRELSZ:
            calls_size = entry->d_un.d_val / sizeof(Elf64_Rela);
            break;
        case DT_PLTREL:
            is_rela = entry->d_un.d_val == DT_RELA;
            break;
        case DT_SONAME:
            soname = entry;
            break;
        default:
            break;
        }
    }
    if (object->relocations[0].items && skipped <= size) {
        object->relocations[0].items += skipped;
        object->relocations[0].count = size - skipped;
    }
    object->relocations[1].count = object->relocations[1].items && is_rela ? calls_size : 0;
    if (soname && object->strings)
        object->name = object->strings + soname->d_un.d_val;
}

/* The loader has made addresses of them, except in objects that cannot be written to. */
static const void *at(const struct object *object, Elf64_Addr address)
{
    return (const void *)(address < object->base ? address + object->base : address);
}

uint32_t object_symbol(const struct object *object, const char *name, uint32_t after)
{
    if (object->gnu_hash)
        return gnu_symbol(object, name, after);
    return object->hash ? sysv_symbol(object, name, after) : 0;
}

/* number of buckets, first symbol, words of a filter, shift; the filter; buckets; chains of hashes, whose last bit ends them */
static uint32_t gnu_symbol(const struct object *object, const char *name, uint32_t after)
{
    const uint32_t *table = object->gnu_hash;
    uint32_t bucket_count = table[0], first = table[1], words = table[2], shift = table[3], hash = 5381;
    const Elf64_Addr *filter = (const Elf64_Addr *)&table[4];
    const uint32_t *buckets = (const uint32_t *)&filter[words], *chains = buckets + bucket_count;
    const unsigned bits = sizeof *filter * 8;
    for (const unsigned char *c = (const unsigned char *)name; *c; c++)
        hash = hash * 33 + *c;
    if (!bucket_count || !words)
        return 0;
    Elf64_Addr word = filter[hash / bits % words];
    if (!(word >> hash % bits & word >> (hash >> shift) % bits & 1))
        return 0;
    uint32_t symbol = after ? after : buckets[hash % bucket_count];
    if (symbol < first)
        return 0;
    if (after && chains[after - first] & 1)
        return 0;
    for (symbol += after != 0;; symbol++) {
        uint32_t found = chains[symbol - first];
        if ((found | 1) == (hash | 1) && is_it(object, symbol, name))
            return symbol;
        if (found & 1)
            return 0;
    }
}

/* number of buckets, of chains; buckets; chains of symbols */
static uint32_t sysv_symbol(const struct object *object, const char *name, uint32_t after)
{
    const uint32_t *table = object->hash, *buckets = &table[2], *chains = buckets + table[0];
    uint32_t hash = 0;
    for (const unsigned char *c = (const unsigned char *)name; *c; c++) {
        hash = (hash << 4) + *c;
        hash ^= (hash & 0xf0000000) >> 24;
        hash &= 0x0fffffff;
    }
    uint32_t symbol = !table[0] ? 0 : after ? chains[after] : buckets[hash % table[0]];
    while (symbol && !is_it(object, symbol, name))
        symbol = chains[symbol];
    return symbol;
}

static bool is_it(const struct object *object, uint32_t symbol, const char *name)
{
    const Elf64_Sym *entry = &object->symbols[symbol];
    return entry->st_shndx != SHN_UNDEF && strcmp(object->strings + entry->st_name, name) == 0;
}

const char *object_version(const struct object *object, uint32_t symbol, bool *is_default)
{
    uint16_t version = object->versions ? object->versions[symbol] : VERSION_GLOBAL;
    uint16_t number = version & ~VERSION_HIDDEN;
    if (is_default)
        *is_default = !(version & VERSION_HIDDEN);
    if (number <= VERSION_GLOBAL)
        return NULL;
    const char *library = (const char *)object->needed;
    while (library && object->symbols[symbol].st_shndx == SHN_UNDEF) {
        const Elf64_Verneed *need = (const Elf64_Verneed *)library;
        const char *item = library + need->vn_aux;
        for (unsigned i = 0; i < need->vn_cnt; i++) {
            const Elf64_Vernaux *wanted = (const Elf64_Vernaux *)item;
            if ((wanted->vna_other & ~VERSION_HIDDEN) == number)
                return object->strings + wanted->vna_name;
            item += wanted->vna_next;
        }
        library = need->vn_next ? library + need->vn_next : NULL;
    }
    const char *item = (const char *)object->defined;
    while (item) {
        const Elf64_Verdef *definition = (const Elf64_Verdef *)item;
        const Elf64_Verdaux *name = (const Elf64_Verdaux *)(item + definition->vd_aux);
        if (definition->vd_ndx == number)
            return object->strings + name->vda_name;
        item = definition->vd_next ? item + definition->vd_next : NULL;
    }
    return NULL;
}

uintptr_t object_function(const struct object *object, uint32_t symbol, bool may_ask)
{
    const Elf64_Sym *entry = &object->symbols[symbol];
    uintptr_t address = object->base + entry->st_value;
    switch (ELF64_ST_TYPE(entry->st_info)) {
    case STT_FUNC:
        return address;
    case STT_GNU_IFUNC:
        return may_ask ? ((uintptr_t(*)(void))address)() : 0;
    default:
        return 0;
    }
}

/* When it has put the addresses in, the loader takes away the right to write to them, where the object asks for that. The
 * kernel is asked whether it has: to add nothing to a word in such a page is possible only if it may be written to. An
 * object that does not ask for it cannot be judged; what stands in it is looked at closely before it is changed. */
bool object_is_settled(const struct object *object)
{
    if (object->relro_begin >= object->relro_end)
        return true;
    int error = errno;
    uint32_t own = 0, *last = (uint32_t *)(object->relro_end - sizeof *last);
    long result = syscall(SYS_futex, &own, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 0, 0, last,
                          FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, 0));
    bool is_protected = result < 0 && errno == EFAULT;
    errno = error;
    return is_protected;
}

static uintptr_t page_size(void)
{
    return (uintptr_t)sysconf(_SC_PAGESIZE);
}
