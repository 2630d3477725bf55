use super::*;
use crate::pg::btree_key::COLUMNS;

const INNER: u32 = 1;

fn key(values: [i64; COLUMNS], place: u64) -> Key {
    Key { values, place }
}

fn layout() -> Layout {
    Layout::of(&[Kind::Wide, Kind::Small, Kind::Wide, Kind::Wide])
}

/// An empty page that has a right neighbour or not.
pub fn empty(level: u32, next: u32) -> Box<[u8; PAGE]> {
    let mut bytes = Box::new([0; PAGE]);
    put(&mut bytes[..], LOWER, ITEMS as u16);
    put(&mut bytes[..], UPPER, OPAQUE as u16);
    put(&mut bytes[..], SPECIAL, OPAQUE as u16);
    put(&mut bytes[..], FLAGS, if level == 0 { IS_LEAF } else { 0 });
    bytes[NEXT..NEXT + 4].copy_from_slice(&next.to_ne_bytes());
    bytes[LEVEL..LEVEL + 4].copy_from_slice(&level.to_ne_bytes());
    bytes
}

/// Adds a tuple as the last one.
pub fn append(bytes: &mut [u8; PAGE], tuple: &[u8]) {
    let end = Page::new(bytes).items() + 1;
    Leaf::new(bytes).add(&[end], tuple);
}

fn tuple(key: &Key) -> Vec<u8> {
    let layout = layout();
    let mut tuple = vec![0; layout.size()];
    layout.write(key, 0, &mut tuple);
    tuple
}

/// A pivot of so many columns, with its place or without, that leads to a block.
fn pivot(key: &Key, columns: usize, with_place: bool, block: u32) -> Vec<u8> {
    let mut pivot = tuple(key);
    let end = layout().columns[..columns]
        .last()
        .map_or(TUPLE_HEADER, Column::end);
    pivot.truncate(end.next_multiple_of(8));
    if with_place {
        pivot.extend([0, 0]);
        for part in [key.place >> 32, key.place >> 16, key.place] {
            pivot.extend((part as u16).to_ne_bytes());
        }
    }
    let size = pivot.len() as u16;
    put(&mut pivot, 0, (block >> 16) as u16);
    put(&mut pivot, 2, block as u16);
    put(
        &mut pivot,
        4,
        columns as u16 | if with_place { HAS_PLACE } else { 0 },
    );
    put(&mut pivot, INFO, size | OTHER_USE);
    pivot
}

fn posting_list(key: &Key, places: &[u64]) -> Vec<u8> {
    let mut list = tuple(key);
    let at = list.len();
    for place in places {
        for part in [place >> 32, place >> 16, *place] {
            list.extend((part as u16).to_ne_bytes());
        }
    }
    list.resize(list.len().next_multiple_of(8), 0);
    let size = list.len() as u16;
    put(&mut list, 0, 0);
    put(&mut list, 2, at as u16);
    put(&mut list, 4, places.len() as u16 | IS_POSTING_LIST);
    put(&mut list, INFO, size | OTHER_USE);
    list
}

fn keys_of(page: Page) -> Vec<i64> {
    (page.first()..=page.items())
        .map(|item| page.double_word(page.tuple_at(item) + TUPLE_HEADER))
        .collect()
}

#[test]
fn tuples_are_laid_out_as_the_server_does() {
    assert_eq!(layout().size(), 40);
    assert_eq!(Layout::of(&[Kind::Small]).size(), 16);
    assert_eq!(Layout::of(&[Kind::Small, Kind::Small, Kind::Wide]).size(), 24);
    let tuple = tuple(&key([1, -2, 3, -4], 5 << 32 | 6 << 16 | 7));
    assert_eq!(tuple[..8], [5, 0, 6, 0, 7, 0, 40, 0]);
    assert_eq!(tuple[8..16], 1i64.to_ne_bytes());
    assert_eq!(tuple[16..20], (-2i32).to_ne_bytes());
    assert_eq!(tuple[20..24], [0; 4]);
    assert_eq!(tuple[32..], (-4i64).to_ne_bytes());
}

#[test]
fn entries_added_at_once_lie_as_if_added_one_by_one() {
    let layout = layout();
    let mut at_once = empty(0, 0);
    for value in [10, 20, 30, 40] {
        append(&mut at_once, &tuple(&key([value, 0, 0, 0], 1)));
    }
    let mut one_by_one = at_once.clone();
    let before = at_once.clone();
    let new: Vec<Key> = [5, 15, 16, 17, 35, 50, 60]
        .map(|value| key([value, 0, 0, 0], 1))
        .to_vec();
    let positions: Vec<u16> = new
        .iter()
        .filter_map(|key| Page::new(&before).position(key, &layout, 0))
        .collect();
    assert_eq!(positions, [1, 2, 2, 2, 4, 5, 5]);
    let tuples: Vec<u8> = new.iter().flat_map(tuple).collect();
    let mut leaf = Leaf::new(&mut at_once);
    let expected = leaf.length_of_changes(positions[0], new.len(), layout.size());
    leaf.add(&positions, &tuples);
    let mut changes = Vec::new();
    leaf.describe(positions[0], new.len(), layout.size(), &mut changes);
    assert_eq!(changes.len(), expected);
    for (which, (position, key)) in positions.iter().zip(&new).enumerate() {
        Leaf::new(&mut one_by_one).add(&[position + which as u16], &tuple(key));
    }
    assert!(at_once == one_by_one);
    assert_eq!(
        keys_of(Page::new(&at_once)),
        [5, 10, 15, 16, 17, 20, 30, 35, 40, 50, 60]
    );
    // What generic WAL makes of the page as it was.
    let mut replayed = before;
    let mut rest = &changes[..];
    while let [a, b, c, d, data @ ..] = rest {
        let (offset, length) = (u16::from_ne_bytes([*a, *b]), u16::from_ne_bytes([*c, *d]));
        let (offset, length) = (usize::from(offset), usize::from(length));
        replayed[offset..offset + length].copy_from_slice(&data[..length]);
        rest = &data[length..];
    }
    assert!(replayed == at_once);
}

#[test]
fn the_place_decides_between_equal_keys_and_nothing_goes_into_a_list() {
    let layout = layout();
    let mut bytes = empty(0, 0);
    let same = [1, 1, 1, 1];
    append(&mut bytes, &tuple(&key(same, 10)));
    append(&mut bytes, &posting_list(&key(same, 0), &[20, 25, 30]));
    append(&mut bytes, &tuple(&key(same, 40)));
    let found: Vec<Option<u16>> = [5, 10, 15, 20, 22, 30, 31, 40, 41]
        .map(|place| Page::new(&bytes).position(&key(same, place), &layout, 0))
        .to_vec();
    assert_eq!(
        found,
        [Some(1), None, Some(2), None, None, None, Some(3), None, Some(4)]
    );
}

#[test]
fn a_high_key_bounds_its_page_and_what_it_lacks_is_the_least() {
    let layout = layout();
    let high = key([5, 6, 7, 8], 9);
    let reaches = |columns, with_place, at: Key| {
        let mut bytes = empty(0, 3);
        append(&mut bytes, &pivot(&high, columns, with_place, 0));
        Page::new(&bytes).reaches(&at, &layout)
    };
    assert_eq!(reaches(4, true, high), Some(true));
    assert_eq!(reaches(4, true, key([5, 6, 7, 8], 10)), Some(false));
    assert_eq!(reaches(4, false, high), Some(false));
    assert_eq!(reaches(4, false, key([5, 6, 7, 7], 10)), Some(true));
    assert_eq!(reaches(2, false, key([5, 6, 0, 0], 0)), Some(false));
    assert_eq!(reaches(2, false, key([5, 5, 9, 9], 0)), Some(true));
    // The last page of its level has none, and one that lost it is nothing to decide on.
    assert_eq!(Page::new(&empty(0, 0)).reaches(&high, &layout), Some(true));
    assert_eq!(Page::new(&empty(0, 3)).reaches(&high, &layout), None);
}

#[test]
fn an_inner_page_leads_to_the_child_whose_range_holds_the_key() {
    let layout = layout();
    let mut bytes = empty(INNER, 0);
    append(&mut bytes, &pivot(&key([0; 4], 0), 0, false, 100));
    append(&mut bytes, &pivot(&key([10, 0, 0, 0], 0), 1, false, 200));
    append(&mut bytes, &pivot(&key([20, 5, 0, 0], 7), 4, true, 70_000));
    let page = Page::new(&bytes);
    let child = |values, place, from| page.child(&key(values, place), &layout, from);
    assert_eq!(child([9, 9, 9, 9], 1, 0), Some((100, 1)));
    assert_eq!(child([10, 0, 0, 0], 0, 0), Some((200, 2)));
    assert_eq!(child([20, 5, 0, 0], 7, 0), Some((200, 2)));
    assert_eq!(child([20, 5, 0, 0], 8, 0), Some((70_000, 3)));
    assert_eq!(child([99, 0, 0, 0], 0, 3), Some((70_000, 3)));
    assert_eq!(
        Page::new(&empty(INNER, 0)).child(&key([0; 4], 0), &layout, 0),
        None
    );
}

#[test]
fn the_places_of_a_key_are_those_of_its_entries() {
    let layout = layout();
    let mut bytes = empty(0, 0);
    append(&mut bytes, &tuple(&key([1; 4], 7)));
    append(&mut bytes, &tuple(&key([2; 4], 3 << 16 | 5)));
    append(&mut bytes, &tuple(&key([2; 4], 9 << 16 | 1)));
    append(&mut bytes, &posting_list(&key([3; 4], 0), &[20, 25]));
    let page = Page::new(&bytes);
    let place = |value| {
        let mut places = Vec::new();
        page.places(&key([value; 4], 0), &layout, &mut places)?;
        Some(places)
    };
    assert_eq!(place(1), Some(vec![7]));
    assert_eq!(place(2), Some(vec![3 << 16 | 5, 9 << 16 | 1]));
    assert_eq!((place(0), place(4)), (Some(vec![]), Some(vec![])));
    // Of several places in a list only the server can say.
    assert_eq!(place(3), None);
}

#[test]
fn an_inner_page_holds_what_cannot_belong_to_its_neighbours() {
    let layout = layout();
    let holds = |previous: u32, value| {
        let mut bytes = empty(INNER, 5);
        bytes[PREVIOUS..PREVIOUS + 4].copy_from_slice(&previous.to_ne_bytes());
        append(&mut bytes, &pivot(&key([30, 0, 0, 0], 0), 1, false, 0));
        append(&mut bytes, &pivot(&key([0; 4], 0), 0, false, 100));
        append(&mut bytes, &pivot(&key([20, 0, 0, 0], 0), 1, false, 200));
        Page::new(&bytes).holds(&key([value, 0, 0, 0], 0), &layout)
    };
    for previous in [0, 9] {
        assert!(holds(previous, 20) && holds(previous, 29) && !holds(previous, 31));
    }
    assert!(holds(0, 19) && !holds(9, 19));
}

#[test]
fn what_is_not_plain_is_said_to_be_so() {
    let layout = layout();
    let mut bytes = empty(0, 0);
    append(&mut bytes, &tuple(&key([1; 4], 1)));
    let with_null =
        u16::from_ne_bytes([bytes[OPAQUE - 40 + INFO], bytes[OPAQUE - 40 + INFO + 1]]) | HAS_NULLS;
    put(&mut bytes[..], OPAQUE - 40 + INFO, with_null);
    assert_eq!(Page::new(&bytes).position(&key([2; 4], 1), &layout, 0), None);
    // A tuple that is too short for its columns, and a pointer to nowhere.
    put(&mut bytes[..], OPAQUE - 40 + INFO, 16);
    assert_eq!(Page::new(&bytes).position(&key([2; 4], 1), &layout, 0), None);
    put(&mut bytes[..], ITEMS, 0x7fff);
    assert_eq!(Page::new(&bytes).position(&key([2; 4], 1), &layout, 0), None);
}

#[test]
fn pages_that_want_more_are_not_filled() {
    assert!(Page::new(&empty(0, 0)).is_leaf_to_fill());
    assert!(!Page::new(&empty(INNER, 0)).is_leaf_to_fill());
    assert!(Page::new(&empty(INNER, 0)).is_in_use(INNER));
    for flag in [IS_DELETED, IS_META, IS_HALF_DEAD, IS_SPLIT_INCOMPLETELY] {
        let mut bytes = empty(0, 0);
        put(&mut bytes[..], FLAGS, IS_LEAF | flag);
        assert!(!Page::new(&bytes).is_leaf_to_fill());
    }
    assert!(!Page::new(&[0; PAGE]).is_leaf_to_fill());
    let mut bytes = empty(0, 0);
    put(&mut bytes[..], LOWER, OPAQUE as u16);
    put(&mut bytes[..], UPPER, ITEMS as u16);
    assert!(!Page::new(&bytes).is_leaf_to_fill());
}

#[test]
fn a_search_that_begins_near_finds_the_same() {
    let layout = layout();
    let mut bytes = empty(0, 0);
    for value in 0..100 {
        append(&mut bytes, &tuple(&key([value * 2, 0, 0, 0], 1)));
    }
    let page = Page::new(&bytes);
    for value in 0..100 {
        let at = key([value * 2 + 1, 0, 0, 0], 1);
        let expected = Some(value as u16 + 2);
        for from in [0, value as u16 / 2, value as u16, value as u16 + 1] {
            assert_eq!(page.position(&at, &layout, from), expected);
        }
    }
}

#[test]
fn entries_with_doubles_and_what_is_included_are_put_where_they_belong() {
    let layout = Layout::of(&[Kind::Wide, Kind::Small, Kind::Double, Kind::Wide]).with_included();
    assert_eq!(layout.size(), 48);
    let written = |double: f64, entity, place, included| {
        let mut tuple = vec![0; layout.size()];
        let key = key([1, 2, ordered(double), entity], place);
        layout.write(&key, included, &mut tuple);
        (key, tuple)
    };
    let doubles = [f64::NEG_INFINITY, -2.0, -1.0, 0.0, 3.5, f64::NAN];
    let mut page = empty(0, 0);
    for (place, double) in doubles.iter().enumerate() {
        append(&mut page, &written(*double, 7, place as u64, 77).1);
    }
    let page = Page::new(&page);
    for (place, double) in doubles.iter().enumerate() {
        let position = |entity| {
            let (key, _) = written(*double, entity, place as u64, 0);
            page.position(&key, &layout, 0)
        };
        let item = place as u16 + 1;
        assert_eq!(
            (position(6), position(8)),
            (Some(item), Some(item + 1)),
            "{double}"
        );
        assert_eq!(position(7), None, "{double} is there");
        let (tuple, _) = page.tuple(item).expect("an item");
        let number = |at: usize| <[u8; 8]>::try_from(&tuple[at..at + 8]).expect("eight bytes");
        let stored = f64::from_ne_bytes(number(24));
        assert!(
            stored == *double || stored.is_nan() && double.is_nan(),
            "{stored}"
        );
        assert_eq!(i64::from_ne_bytes(number(32)), 7);
        assert_eq!(i64::from_ne_bytes(number(40)), 77);
    }
}
