#include "printable.h"

#include <string.h>
#include <wchar.h>

char *printable(char *text)
{
    mbstate_t state = {0};
    for (char *at = text; *at;) {
        wchar_t character;
        size_t length = mbrtowc(&character, at, strlen(at), &state);
        if (length == (size_t)-1 || length == (size_t)-2) {
            length = 1;
            character = L'\0';
            memset(&state, 0, sizeof state);
        }
        if (character == L'\0' || wcwidth(character) <= 0)
            memset(at, '?', length);
        at += length;
    }
    return text;
}

char *printable_field(char *to, const char *field, size_t size)
{
    memcpy(to, field, size);
    to[size] = '\0';
    return printable(to);
}

size_t printable_width(const char *text)
{
    mbstate_t state = {0};
    size_t width = 0;
    while (*text) {
        wchar_t character;
        size_t length = mbrtowc(&character, text, strlen(text), &state);
        if (length == (size_t)-1 || length == (size_t)-2)
            return width + strlen(text);
        int columns = wcwidth(character);
        width += columns > 0 ? (size_t)columns : 0;
        text += length;
    }
    return width;
}
