#include "symbols.h"

#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "message.h"
#include "rules/problems.h"

struct names {
    const char **items; /* NULL at the end */
    size_t count;
};

static void read_section(Elf *elf, Elf_Scn *section, const char *wanted, struct symbol *symbol,
                         struct names *exported);
static void note(struct names *names, const char *name);

struct symbol symbol_find(const char *path, const char *name)
{
    struct symbol symbol = {.nearest = NULL};
    struct names exported = {.count = 0};
    int file = open(path, O_RDONLY | O_CLOEXEC);
    Elf *elf = file >= 0 && elf_version(EV_CURRENT) != EV_NONE ? elf_begin(file, ELF_C_READ, NULL) : NULL;
    for (Elf_Scn *section = elf ? elf_nextscn(elf, NULL) : NULL; section; section = elf_nextscn(elf, section))
        read_section(elf, section, name, &symbol, &exported);
    if (!symbol.is_exported && !symbol.is_kept && exported.count) {
        const char *nearest = nearest_name(name, exported.items);
        symbol.nearest = nearest ? copy_of(nearest) : NULL;
    }
    free(exported.items);
    elf_end(elf);
    if (file >= 0)
        close(file);
    return symbol;
}

void symbol_end(struct symbol *symbol)
{
    free(symbol->nearest);
}

static void read_section(Elf *elf, Elf_Scn *section, const char *wanted, struct symbol *symbol,
                         struct names *exported)
{
    GElf_Shdr header;
    if (!gelf_getshdr(section, &header) || !header.sh_entsize ||
        (header.sh_type != SHT_DYNSYM && header.sh_type != SHT_SYMTAB))
        return;
    bool is_dynamic = header.sh_type == SHT_DYNSYM;
    Elf_Data *data = elf_getdata(section, NULL);
    for (size_t i = 1; data && i < header.sh_size / header.sh_entsize; i++) {
        GElf_Sym item;
        const char *name =
            gelf_getsym(data, (int)i, &item) ? elf_strptr(elf, header.sh_link, item.st_name) : NULL;
        unsigned type = GELF_ST_TYPE(item.st_info);
        if (!name)
            continue;
        bool is_this = strcmp(name, wanted) == 0, is_function = type == STT_FUNC || type == STT_GNU_IFUNC;
        if (item.st_shndx == SHN_UNDEF) {
            symbol->is_called |= is_dynamic && is_this;
        } else if (is_function && is_dynamic) {
            symbol->is_exported |= is_this;
            if (strlen(name) <= strlen(wanted) + 3)
                note(exported, name);
        } else if (is_function) {
            symbol->is_kept |= is_this && !symbol->is_exported;
        }
    }
}

static void note(struct names *names, const char *name)
{
    names->items = grow(names->items, (names->count + 2) * sizeof *names->items);
    names->items[names->count++] = name;
    names->items[names->count] = NULL;
}
