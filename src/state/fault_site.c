#include "state/fault_site.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <string.h>

#include "state/process.h"

/* Since glibc 2.35; without it calls have no place. dladdr and dl_iterate_phdr wait for whoever is loading a library. */
static __typeof__(_dl_find_object) *find_object;

static const char *symbol_at(const struct link_map *map, uintptr_t address);
static uint32_t symbol_count(const uint32_t *hash);

/* Not by linking to it: that would ask for the version of libc that it came with. */
void fault_site_look_up(void)
{
    find_object = (__typeof__(find_object))dlsym(RTLD_DEFAULT, "_dl_find_object");
}

struct fault_caller fault_caller_of(uintptr_t address)
{
    struct fault_caller caller = {.module = "", .symbol = ""};
    struct dl_find_object found;
    if (!address || !find_object || find_object((void *)address, &found) != 0)
        return caller;
    const struct link_map *map = found.dlfo_link_map;
    const char *slash = strrchr(map->l_name, '/');
    caller.module = slash ? slash + 1 : map->l_name[0] ? map->l_name : process_program();
    caller.symbol = symbol_at(map, address);
    caller.offset = address - map->l_addr;
    return caller;
}

static const char *symbol_at(const struct link_map *map, uintptr_t address)
{
    const ElfW(Sym) *symbols = NULL;
    const char *names = NULL;
    const uint32_t *hash = NULL;
    for (const ElfW(Dyn) *entry = map->l_ld; entry && entry->d_tag != DT_NULL; entry++) {
        if (entry->d_tag == DT_SYMTAB)
            symbols = (const ElfW(Sym) *)entry->d_un.d_ptr;
        else if (entry->d_tag == DT_STRTAB)
            names = (const char *)entry->d_un.d_ptr;
        else if (entry->d_tag == DT_GNU_HASH)
            hash = (const uint32_t *)entry->d_un.d_ptr;
    }
    /* Where the loader leaves the section as it is in the file (the vdso), these are no addresses. */
    if (!symbols || !names || !hash || (uintptr_t)symbols < map->l_addr)
        return "";
    uintptr_t offset = address - map->l_addr;
    uint32_t count = symbol_count(hash);
    for (uint32_t i = 0; i < count; i++)
        if (ELF64_ST_TYPE(symbols[i].st_info) == STT_FUNC && symbols[i].st_shndx != SHN_UNDEF &&
            offset > symbols[i].st_value && offset <= symbols[i].st_value + symbols[i].st_size)
            return names + symbols[i].st_name;
    return "";
}

/* The table does not say how many there are: it is the last of the longest chain. */
static uint32_t symbol_count(const uint32_t *hash)
{
    uint32_t buckets = hash[0], first = hash[1], last = 0;
    const uint32_t *heads = hash + 4 + hash[2] * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
    const uint32_t *chains = heads + buckets;
    for (uint32_t i = 0; i < buckets; i++)
        if (heads[i] > last)
            last = heads[i];
    if (last < first)
        return 0;
    while (!(chains[last - first] & 1))
        last++;
    return last + 1;
}
