/* Intrusive doubly linked ring: the head is a link too, an empty list points to itself. Links need
 * no memory of their own and can be taken out without knowing the list. */
#ifndef SL_BASE_LIST_H
#define SL_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct sl_list {
    struct sl_list *prev, *next;
};

/* The struct of type that holds link as its member. */
#define SL_LIST_ENTRY(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

/* for (each link of list): the current link may be removed, so next is read ahead. */
#define SL_LIST_EACH(link, list)                                                                   \
    for (struct sl_list *link = (list)->next, *link##_next = link->next; link != (list);           \
         link = link##_next, link##_next = link->next)

/* An empty list, or a link that is in none. */
static inline void
sl_list_init(struct sl_list *list)
{
    list->prev = list->next = list;
}

static inline bool
sl_list_empty(const struct sl_list *list)
{
    return list->next == list;
}

/* First link, or NULL. */
static inline struct sl_list *
sl_list_first(const struct sl_list *list)
{
    return list->next == list ? NULL : list->next;
}

static inline void
sl_list_insert_after(struct sl_list *where, struct sl_list *link)
{
    link->prev = where;
    link->next = where->next;
    where->next->prev = link;
    where->next = link;
}

static inline void
sl_list_push_front(struct sl_list *list, struct sl_list *link)
{
    sl_list_insert_after(list, link);
}

static inline void
sl_list_push_back(struct sl_list *list, struct sl_list *link)
{
    sl_list_insert_after(list->prev, link);
}

/* Leaves link in no list; harmless when it already is in none. */
static inline void
sl_list_remove(struct sl_list *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    sl_list_init(link);
}

#endif
